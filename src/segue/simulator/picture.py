"""A picture of games as one SVG: how many sessions are still going after so many songs, a line a policy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log

import numpy as np

from segue.simulator.playing import Game

_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4b5563")
_W, _H, _LEFT, _BOTTOM, _TOP = 760, 420, 60, 50, 30


def svg(games: Sequence[Game], title: str) -> str:
    """The survival curves of session lengths, the songs on a logarithmic axis, with mean session times in the key."""
    longest = max([2.0, *(float(game.length.max(initial=0)) for game in games)])
    width, height = _W - _LEFT - 190, _H - _BOTTOM - _TOP

    def x(songs: float) -> float:
        return _LEFT + width * log(songs) / log(longest)

    def y(share: float) -> float:
        return _TOP + height * (1.0 - share)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_W} {_H}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_W}" height="{_H}" fill="#fff"/><text x="{_LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<path d="M{_LEFT} {y(share):.1f}h{width}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    ticks = [songs for e in range(4) for songs in (10**e, 2 * 10**e, 5 * 10**e) if songs <= longest]
    parts += [f'<text x="{x(s):.1f}" y="{_H - _BOTTOM + 18}" text-anchor="middle">{s}</text>' for s in ticks]
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_H - 12}" text-anchor="middle">songs heard</text>')
    for place, game in enumerate(games):
        colour = _COLOURS[place % len(_COLOURS)]
        steps = np.unique(np.concatenate(([1.0], game.length)))
        beyond = [float((game.length >= songs).mean()) for songs in steps]
        path = " ".join(f"{'ML'[i > 0]}{x(s):.1f} {y(b):.1f}" for i, (s, b) in enumerate(zip(steps, beyond, strict=True)))
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = _TOP + 20 + 34 * place
        parts.append(f'<rect x="{_W - 180}" y="{at - 9}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_W - 162}" y="{at + 1}">{escape(game.policy)}</text>')
        parts.append(f'<text x="{_W - 162}" y="{at + 15}" fill="#6b7280">mean time {game.time.mean():.2f}</text>')
    return "\n".join([*parts, "</svg>"])
