"""What the page is made of: no text of a user or a model runs, nothing comes from elsewhere, and it is small."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
from counts import count
from serving.page.waiting import wait_until

import antiphon.serving

PAGE = Path(antiphon.serving.__file__).parent / "page"
MOST_BYTES = 150_000
FILES = [path for path in sorted(PAGE.rglob("*")) if path.is_file()]
TEMPLATES = r"""
<script>{}</script>
<img src=x onerror={}>
<svg onload={}>
<svg><script>{}</script></svg>
"><img src=x onerror={}>
'><script>{}</script>
</textarea><script>{}</script>
<iframe srcdoc='<script>{}</script>'>
<a href=javascript:{}>x</a>
<body onload={}>
<details open ontoggle={}>
<input autofocus onfocus={}>
<math><mtext><img src=x onerror={}></mtext></math>
<!--><img src=x onerror={}>-->
<template><img src=x onerror={}></template>
javascript:{}
<object data='javascript:{}'>
<style>@import 'javascript:{}'</style>
</title><script>{}</script>
<video><source onerror={}></video>
<marquee onstart={}>
<xss style='animation:turn 1s' onanimationstart={}>
<link rel=stylesheet href='data:text/css,*' onload={}>
${ {} } {{ {} }} #{ {} }
\u003cscript\u003e{}\u003c/script\u003e
&lt;script&gt;{}&lt;/script&gt;
""".strip().splitlines()
# The words of the answer are those of the text that stands there now; the one before is shown for a moment.
ANSWERED = r"""() => {
    const solid = (text) => text.replace(/[\s\0]/g, "");
    const shown = [...document.querySelectorAll(".answer-text .segment")].map((each) => each.textContent).join("");
    return shown !== "" && solid(shown) === solid(document.querySelector("#source").value);
}"""
CALL = "window.injected=(window.injected||0)+1"


WAYS: list[Callable[[str], str]] = [
    str.upper,
    str.title,
    lambda text: text.replace("<", "<\t", 1),
    lambda text: text.replace("=", "&#61;", 1),
    lambda text: f"in 3 hours {text}",
    lambda text: text.replace("script", "scr\0ipt"),
    lambda text: f"{text}\n{text}",
    lambda text: text.replace(" ", "/"),
]


def injections(number: int) -> list[str]:
    """Texts that would call a script if they were read as HTML: each template as it is, then in other spellings."""
    draw = random.Random(7)
    shapes = [*TEMPLATES, *(draw.choice(WAYS)(draw.choice(TEMPLATES)) for _ in range(number))]
    return [shape.replace("{}", CALL) for shape in shapes[:number]]


def test_no_text_runs_as_source_or_as_answer(open_page) -> None:
    page = open_page(model="echo")
    for text in injections(count("script_injection")):
        page.fill("#source", text)
        # `echo` answers with its input, so that the same text is in the answer and in the list of others.
        wait_until(page, ANSWERED)
        page.locator(".word").first.hover()
        page.locator(".other").first.wait_for()
        assert page.evaluate("window.injected") is None, text
        assert page.evaluate("document.querySelectorAll('main script, main img, main iframe, main object').length") == 0
    page.locator("#tab-attention").click()
    page.wait_for_selector(".heat")
    assert page.evaluate("window.injected") is None


def test_the_policy_forbids_inline_scripts_and_styles(open_page, server) -> None:
    policy = httpx2.get(server.url).headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    page = open_page(expected=("Content Security Policy",))
    ran = page.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend", "<p id=styled style='color: red' onclick='ran = true'>x</p>");
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            document.getElementById("styled").click();
            const colour = getComputedStyle(document.getElementById("styled")).color;
            return [window.ran ?? false, colour === "rgb(255, 0, 0)"];
        }"""
    )
    assert ran == [False, False]


def test_the_files_have_nothing_inline_and_nothing_from_elsewhere() -> None:
    allowed = {"http://www.w3.org/2000/svg"}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        links = set(re.findall(r"https?://[^\s\"'`)<$]+", text)) - allowed
        assert not links, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script>(?!<)", html)


def test_the_page_is_small() -> None:
    others = min(path.stat().st_size for path in FILES if path.parent.name == "texts")  # a browser loads one language
    assert sum(path.stat().st_size for path in FILES) - others < MOST_BYTES


def texts(code: str) -> dict[str, str]:
    found = {}
    for group, entries in json.loads((PAGE / "texts" / f"{code}.json").read_text(encoding="utf-8")).items():
        for name, text in ({"": entries} if isinstance(entries, str) else entries).items():
            found[f"{group}.{name}" if name else group] = text
    return found


def test_english_and_german_have_the_same_texts() -> None:
    english, german = texts("en"), texts("de")
    assert list(english) == list(german)
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", german[key])), key
        assert german[key].strip(), key


def test_every_text_that_the_scripts_name_exists() -> None:
    english = texts("en")
    code = "\n".join(path.read_text(encoding="utf-8") for path in FILES if path.suffix in (".js", ".html"))
    named = set(re.findall(r"(?:\bt|label|hint|placeholder|title)[:=] ?\[?\"([a-z0-9_.-]+)\"", code))
    named |= set(re.findall(r"(?:\bt\(|data-t(?:-label)?=|button\(|iconButton\(\"\w+\", )\"([a-z0-9_.-]+)\"", code))
    assert len(named) > 60
    assert named - set(english) - {"en", "de"} == set()
