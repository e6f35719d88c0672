"""``blobkit demo``: the whole road of a large file, for real, with a crash in the middle; every step proves something.

``command`` reads the options, ``place`` opens the store and serves it, ``video`` makes the file, ``service`` hands out
plans, ``client`` is the process that is killed and goes on from its journal, ``flow`` are the steps, ``story`` times and
tells them.
"""

from __future__ import annotations
