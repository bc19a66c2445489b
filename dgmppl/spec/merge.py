"""`extends`: a document laid over another.

Sections that merge do so entry by entry, and an entry replaces the other's whole; the other sections replace each
other whole; `null` drops; `steps` and `epochs` displace each other.
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.errors import Problem
from dgmppl.source import Diagnostic, nearest
from dgmppl.spec.document import Content, Document, Dropped, Entries, key_text
from dgmppl.spec.kinds import listing
from dgmppl.spec.sections import SECTIONS
from dgmppl.spec.syntax import Key

_DISPLACES = {"steps": "epochs", "epochs": "steps"}


def merge(base: Document | None, over: Document, problems: list[Problem]) -> Document:
    """The sections of `base` with those of `over` laid over them; without a base, `over` with nothing to drop."""
    sections: dict[str, Content] = {} if base is None else dict(base.sections)
    for name, content in over.sections.items():
        beneath = sections.get(name)
        if isinstance(content, Dropped):
            if beneath is None:
                problems.append(_nothing_to_drop(content, base, list(sections)))
            sections.pop(name, None)
        elif isinstance(content, dict) and SECTIONS[name].merges:
            sections[name] = _merge_entries(beneath if isinstance(beneath, dict) else {}, content, base, problems)
        else:
            sections[name] = content
    sections.pop("extends", None)
    spans = over.spans if base is None else {**base.spans, **over.spans}
    return replace(over, sections=sections, spans=spans)


def _merge_entries(beneath: Entries, content: Entries, base: Document | None, problems: list[Problem]) -> Entries:
    entries = dict(beneath)
    for key, entry in content.items():
        displaced = _DISPLACES.get(key) if isinstance(key, str) else None
        if displaced is not None and displaced not in content:
            entries.pop(displaced, None)
        if isinstance(entry, Dropped):
            if key not in entries:
                problems.append(_nothing_to_drop(entry, base, list(entries)))
            entries.pop(key, None)
        else:
            entries[key] = entry
    return entries


def _nothing_to_drop(dropped: Dropped, base: Document | None, known: list[Key | str] | list[str]) -> Diagnostic:
    if base is None:
        fix = "write its value, or leave the key out"
        return Diagnostic("missing-value", f"`{dropped.shown}` has no value", dropped.span, fix=fix)
    names = [key_text(key) if isinstance(key, Key) else key for key in known]
    close = nearest(dropped.shown, names)
    fix = f"write `{close}`" if close else "leave the line out"
    message = f"`{dropped.shown}: null` drops nothing: the spec that is extended has no `{dropped.shown}`"
    return Diagnostic("drop-unknown", message, dropped.span, listing(names), fix=fix)
