"""How plugins are found, loaded and heard.

:mod:`.spec` says what they are, :mod:`.bundled` names ours, :mod:`.manager` loads one.
"""

from __future__ import annotations
