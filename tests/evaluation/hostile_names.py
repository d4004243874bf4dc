"""Two hundred names that try to become something else than text."""

from __future__ import annotations

__all__ = ["BENIGN", "HOSTILE"]

_CALL = "window.__broken=1"
_PAYLOADS = (
    f"<script>{_CALL}</script>", f"</script><script>{_CALL}</script>",
    f"<img src=x onerror={_CALL}>", f"<svg onload={_CALL}>", f"<svg/onload={_CALL}//",
    f"<body onload={_CALL}>", f"<iframe srcdoc='<script>parent.{_CALL}</script>'>",
    f'" onmouseover="{_CALL}', f"' onmouseover='{_CALL}", f'"><img src=x onerror={_CALL}>',
    f"'><img src=x onerror={_CALL}>", f"</title><script>{_CALL}</script>",
    f"</style><script>{_CALL}</script>", f"</desc></svg><script>{_CALL}</script>",
    f"<a href=javascript:{_CALL}>x</a>", f"javascript:{_CALL}", f"<math><mi//xlink:href='{_CALL}'>",
    "<!--", "--><b>bold</b>", "]]><b>bold</b>", "<![CDATA[<b>]]>", "<?xml version='1.0'?>",
    "&lt;script&gt;", "&#60;script&#62;", "&quot;&gt;", "{{ 7 * 7 }}", "{% for x in y %}",
    "${7*7}", "`${1}`", "$\\frac{1}", "\\u003cscript\\u003e", "<\u2028script>", "a\u202egnp.exe",
    "a\x00<b>\x1b[31m", "=cmd|' /C calc'!A0", "a|b|c", "[x](javascript:alert(1))",
    "a\n# heading\n---\n- item", "<details open ontoggle=1>\U0001f600\u200d\U0001f525",
    "'; DROP TABLE classes; --,\"x\",",
)  # fmt: skip

HOSTILE = tuple(
    form.format(payload)
    for form in ("{}", "cat {}", "{} dog", "`{}`", "<p>{}</p>")
    for payload in _PAYLOADS
)
BENIGN = tuple(f"name {number:03}" for number in range(len(HOSTILE)))

assert len(set(HOSTILE)) == 200
