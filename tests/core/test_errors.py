"""The tree of errors that the module draws is the tree that the classes make."""

import inspect
import re

from segue.core import errors


def test_every_error_is_in_the_drawing_under_its_parent() -> None:
    drawn = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([ │├└─]*)([A-Z][A-Za-z]+)(?:$|\s{2,})", line)
        if not found:
            continue
        depth, name = len(found[1]), found[2]
        path = [(d, n) for d, n in path if d < depth]
        drawn[name] = path[-1][1] if path else "Exception"
        path.append((depth, name))
    real = {
        name: kind.__base__.__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__ and kind.__base__ is not None
    }
    assert drawn == real
