"""The filling of a slate, place by place, and what the places are scored against each other by.

All in one file: numba's cache on disk knows a kernel by its own file, not by those of the kernels that it calls.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SMOOTHING = 0.01
"""Share of the wanted mix in the slate's own, so that the divergence stays finite (Steck 2018, alpha)."""

LEAST = 1e-3
"""Of a song's variance, what the songs before can never explain (DPP): even a copy loses a finite number."""


@njit(cache=True, nogil=True)
def fill(columns, scores, before, carried, draws, settings, variety, forced):  # type: ignore[no-untyped-def]
    """Greedy filling over candidates sorted best first; returns (places, propensities, explored).

    As far as `forced` names candidates, a place takes that one instead of a draw, and its propensity is the chance that
    it would have been drawn, which may be 0; the filling ends before a place that takes nobody (-1).
    """
    heard, (shares, limits) = columns[3], settings
    n, k, m = len(scores), min(len(draws), len(scores)), len(variety.tags_ptr) - 1
    everyone, newcomers = np.arange(n), np.flatnonzero(carried > 0)
    fresh, pool = np.empty(len(newcomers), np.int64), np.empty(limits[2], np.int64)
    picks, propensities, explored = np.empty(k, np.int64), np.empty(k, np.float32), np.zeros(k, np.bool_)
    used = np.zeros(n, np.bool_)
    effective, closest, given = scores.copy(), np.zeros(m), np.zeros(len(variety.mix))
    explained = np.zeros((k if variety.joint else 0, m), np.float64)
    new_songs, made = 0, 0
    for place in range(k):
        if m:
            everyone[:m] = rescore(variety, scores, closest, given, place, effective)
        want_new = new_songs < np.floor(shares[0] * (place + 1) + 0.5)
        size = 0
        for strictness in range(4):
            rules = (strictness, want_new, limits)
            size = _allowed(columns, everyone, used, picks[:place], before, pool, rules)
            if size:
                break
        if size == 0:
            break
        n_fresh = _allowed(columns, newcomers, used, picks[:place], before, fresh, rules)
        inside = effective[pool[:size]]  # the first is the largest, unless songs below the rearranged ones are among them
        weights, news = np.exp(inside - inside.max()), carried[fresh[:n_fresh]]
        if place < len(forced):
            choice, drawn = forced[place], False
        else:
            choice, drawn = _draw(pool, weights, fresh, news, draws[place], shares)
        if choice < 0:
            break
        chance = _chance(choice, pool, weights, fresh, news, shares)
        picks[place], propensities[place], explored[place] = choice, chance, drawn
        used[choice] = True
        new_songs += not heard[choice]
        made += 1
        if m:
            remember_pick(variety, (choice, place), closest, given, explained)
    return picks[:made], propensities[:made], explored[:made]


@njit(cache=True, nogil=True)
def _allowed(columns, among, used, picks, before, pool, rules):  # type: ignore[no-untyped-def]
    """The first of `among` that this place allows, into pool; how many. Second versions are never allowed."""
    (artists, albums, works, heard), (strictness, want_new, limits) = columns, rules
    gap, cap, album_cap = limits[0], limits[1], limits[3]
    size = 0
    for c in among:
        if size == len(pool):
            break
        if used[c] or (strictness < 1 and want_new == heard[c]):
            continue
        artist, count, on_album, distance, second = artists[c], 0, 0, 1 << 30, False
        for back in range(len(picks)):
            other = picks[len(picks) - 1 - back]
            second = second or works[other] == works[c]
            on_album += albums[c] != -1 and albums[other] == albums[c]
            if artist != -1 and artists[other] == artist:
                count += 1
                distance = min(distance, back)
        if artist != -1 and distance == 1 << 30:
            for back in range(len(before)):
                if before[len(before) - 1 - back] == artist:
                    distance = len(picks) + back
                    break
        if second or (strictness < 3 and distance < gap) or (strictness < 2 and (count >= cap or on_album >= album_cap)):
            continue
        pool[size] = c
        size += 1
    return size


@njit(cache=True, nogil=True)
def _drawn(weights, target):  # type: ignore[no-untyped-def]
    """The place where the running sum of the weights passes the target."""
    for i in range(len(weights)):
        target -= weights[i]
        if target < 0:
            return i
    return len(weights) - 1


@njit(cache=True, nogil=True)
def _draw(pool, weights, fresh, news, draw, shares):  # type: ignore[no-untyped-def]
    """One place: (candidate, drawn). The pool is sorted best first; weights and news are those of pool and fresh."""
    explore, share = shares[1], shares[2] if len(news) else 0.0
    if draw[0] >= explore:
        return pool[0], False
    if draw[1] < share:
        return fresh[_drawn(news, draw[1] / share * news.sum())], True
    return pool[_drawn(weights, (draw[1] - share) / (1.0 - share) * weights.sum())], True


@njit(cache=True, nogil=True)
def _chance(chosen, pool, weights, fresh, news, shares):  # type: ignore[no-untyped-def]
    """The chance of a candidate at one place, by every way it can be drawn."""
    explore, share = shares[1], shares[2] if len(news) else 0.0
    chance = 1.0 - explore if chosen == pool[0] else 0.0
    for i in range(len(weights)):
        if pool[i] == chosen:
            chance += explore * (1.0 - share) * weights[i] / weights.sum()
    for i in range(len(news)):
        if fresh[i] == chosen:
            chance += explore * share * news[i] / news.sum()
    return np.float32(min(chance, 1.0))


@njit(cache=True, nogil=True)
def masses(ptr, tags, names, mass):  # type: ignore[no-untyped-def]
    """The share of each song that is each named tag, into mass (m, T)."""
    for i in range(len(ptr) - 1):
        for t in range(ptr[i], ptr[i + 1]):
            at = np.searchsorted(names, tags[t])
            if at < len(names) and names[at] == tags[t]:
                mass[i, at] += 1.0 / (ptr[i + 1] - ptr[i])


@njit(cache=True, nogil=True)
def jaccard(variety, i, j):  # type: ignore[no-untyped-def]
    """What the tags of two of the best candidates share, in [0, 1]; -1 where one of them has none."""
    a, b = variety.tags_ptr[i], variety.tags_ptr[j]
    n, m = variety.tags_ptr[i + 1] - a, variety.tags_ptr[j + 1] - b
    if n == 0 or m == 0:
        return -1.0
    both = 0
    for s in range(n):
        for t in range(m):
            both += variety.tags[a + s] == variety.tags[b + t]
    return both / (n + m - both)


@njit(cache=True, nogil=True)
def likeness(variety, i, j):  # type: ignore[no-untyped-def]
    """Likeness of two of the best candidates in [0, 1]: the mean of cosine (not below 0) and Jaccard of tags that are known."""
    parts, total = 0, 0.0
    if variety.vectors.shape[1] > 0:
        dot = np.float32(0.0)
        for c in range(variety.vectors.shape[1]):
            dot += variety.vectors[i, c] * variety.vectors[j, c]
        if dot == dot:
            parts += 1
            total += np.float64(min(max(dot, np.float32(0.0)), np.float32(1.0)))
    shared = jaccard(variety, i, j)
    if shared >= 0:
        parts += 1
        total += shared
    return total / parts if parts else 0.0


@njit(cache=True, nogil=True)
def divergence(p, given, places):  # type: ignore[no-untyped-def]
    """One tag's part of KL(wanted mix || mix of the slate), the slate's smoothed (Steck 2018)."""
    return p * np.log(p / ((1.0 - SMOOTHING) * given / places + SMOOTHING * p))


@njit(cache=True, nogil=True)
def rescore(variety, scores, closest, given, places, effective):  # type: ignore[no-untyped-def]
    """Scores of the m best candidates for the next place into effective, and the order that they give, best first (m,).

    Maximal marginal relevance (Carbonell, Goldstein 1998): less weights[0] times the likeness to the most alike song of
    the places before, or where they count jointly, plus weights[0] times the log of what they do not explain of it; less
    weights[1] times the divergence from the listener's mix, once for each place so far, so that the weight means the same
    in slates of any length (Steck weighs one divergence against a sum over the list).
    """
    m, n_tags, after, whole = len(variety.tags_ptr) - 1, len(variety.mix), places + 1, 0.0
    without = np.empty(n_tags)
    for t in range(n_tags):
        without[t] = divergence(variety.mix[t], given[t], after)
        whole += without[t]
    for i in range(m):
        far = whole
        for t in range(n_tags):  # only the tags that the song has move it
            if variety.mass[i, t] > 0:
                far += divergence(variety.mix[t], given[t] + variety.mass[i, t], after) - without[t]
        effective[i] = scores[i] - variety.weights[0] * closest[i] - variety.weights[1] * after * far
    return np.argsort(-effective[:m], kind="mergesort")


@njit(cache=True, nogil=True)
def kernel_entry(variety, i, j):  # type: ignore[no-untyped-def]
    """Likeness of two different songs as an entry of a positive semidefinite matrix whose diagonal is 1.

    The mean of (1 + cosine) / 2 and Jaccard of tags; a song without a vector, or without tags, is like no other by that part.
    Both parts are kernels, and so is their mean, whatever is known of whom. Where nobody has vectors, tags alone count.
    """
    tagged, dot = max(jaccard(variety, i, j), 0.0), np.float32(0.0)
    if variety.vectors.shape[1] == 0:
        return tagged
    for c in range(variety.vectors.shape[1]):
        dot += variety.vectors[i, c] * variety.vectors[j, c]
    heard = (1.0 + min(max(np.float64(dot), -1.0), 1.0)) / 2.0 if dot == dot else 0.0
    return (heard + tagged) / 2.0


@njit(cache=True, nogil=True)
def remember_pick(variety, pick, closest, given, explained):  # type: ignore[no-untyped-def]
    """Take a song that got a place, pick = (song, place), into what the next places are scored against.

    Jointly (a determinantal point process, fast greedy MAP of Chen et al. 2018): the places before are a Cholesky factor, a row
    of `explained` (k, m) each; what a song adds to the log-determinant is log(1 - the sum of its squares), and closest is
    less that. What is told in full by the songs before stays finite: the remainder is at least LEAST.
    """
    m, (song, place) = len(variety.tags_ptr) - 1, pick
    if song >= m:
        return
    if variety.weights[0] > 0 and not variety.joint:
        for i in range(m):
            closest[i] = max(closest[i], likeness(variety, i, song))
    if variety.weights[0] > 0 and variety.joint:
        root = np.exp(-closest[song] / 2.0)
        for i in range(m):
            entry = 1.0 if i == song else kernel_entry(variety, i, song)
            for before in range(place):
                entry -= explained[before, i] * explained[before, song]
            explained[place, i] = entry / root
        for i in range(m):
            left = 1.0
            for before in range(place + 1):
                left -= explained[before, i] * explained[before, i]
            closest[i] = -np.log(max(left, LEAST))
    for t in range(len(variety.mix)):
        given[t] += variety.mass[song, t]
