"""The live page: its policy, and that no value can become markup."""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from mlg.api.page import SCRIPTS, live_page

NODE = shutil.which("node")


class Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.text = "", {"script": "", "style": ""}
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside in self.text:
            self.text[self.inside] += data


def parts() -> Parts:
    parsed = Parts()
    parsed.feed(live_page()[0].decode())
    return parsed


def test_the_policy_allows_exactly_the_inline_parts(client: Any) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == live_page()[0]
    policy = answer.headers["content-security-policy"]
    for part in ("script", "style"):
        digest = b64encode(sha256(parts().text[part].encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy


def test_the_page_needs_nothing_from_elsewhere() -> None:
    content = live_page()[0].decode()
    assert "/*script*/" not in content
    found = set(re.findall(r"https?://[^\"'\s)]+", content))
    assert found == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    for tag, attributes in parts().tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (
            tag
        )


def test_the_script_has_no_way_to_parse_markup_or_text_as_code() -> None:
    script = parts().text["script"]
    for sink in (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(",
        "srcdoc", "DOMParser", "createContextualFragment", "setHTML",
    ):  # fmt: skip
        assert sink not in script, sink


def test_every_field_has_a_label_and_every_section_a_name() -> None:
    parsed = parts()
    labelled = {a.get("for") for tag, a in parsed.tags if tag == "label"}
    for tag, attributes in parsed.tags:
        if tag == "input":
            assert attributes["id"] in labelled
        if tag == "section":
            assert "aria-labelledby" in attributes
    assert ("html", {"lang": "en"}) in parsed.tags


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_of_wcag_aa_in_both_schemes() -> None:
    style = (files("mlg.api") / "static" / "page.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for name in ("ink", "quiet", "accent", "good", "warn", "bad"):
            for ground in ("ground", "card"):
                light, dark = sorted(
                    (_luminance(colors[name]), _luminance(colors[ground])), reverse=True
                )
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


@pytest.mark.skipif(NODE is None, reason="no node here to run the page's script")
def test_the_levers_shown_are_those_that_fit_and_tell_what_the_reader_wrote(
    tmp_path: Path,
) -> None:
    program, static = tmp_path / "levers.mjs", files("mlg.api") / "static"
    program.write_text(
        (Path(__file__).parent / "dom_stub.js").read_text()
        + (static / "dom.js").read_text()
        + (static / "views.js").read_text()
        + (Path(__file__).parent / "click_levers.js").read_text()
    )
    done = subprocess.run(
        [str(NODE), str(program)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "buttons": ["Resume", "Roll back", "Start after this one"],
        "calls": [["resume", "seen it"], ["rollback", "seen it"], ["start", "v3", "seen it"]],
        "labels": ["reason-home", "version-home"],
    }


@pytest.mark.skipif(NODE is None, reason="no node here to run the page's script")
def test_a_click_posts_the_act_with_its_reason_and_a_key_of_its_own(tmp_path: Path) -> None:
    program, static, beside = tmp_path / "page.js", files("mlg.api") / "static", Path(__file__)
    parts = [beside.with_name("dom_stub.js"), beside.with_name("page_before.js")]
    parts += [Path(str(static / name)) for name in SCRIPTS]
    parts += [beside.with_name("page_after.js")]
    text = "\n".join(part.read_text() for part in parts)
    program.write_text(text.replace('"use strict";', ""))
    done = subprocess.run(
        [str(NODE), str(program)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["labels"] == ["Resume", "Roll back", "Start after this one"]
    own = {"service": "home", "reason": "seen it"}
    assert seen["posts"] == [
        ["/api/v1/rollouts/acts", "application/json", {**own, "act": "resume"}],
        ["/api/v1/rollouts/acts", "application/json", {**own, "act": "rollback"}],
        ["/api/v1/rollouts/start", "application/json", {**own, "version": "v3"}],
        ["/api/v1/experiments/acts", "application/json",
         {"experiment": "rows", "act": "stop", "reason": "seen it"}],
        ["/api/v1/experiments/acts", "application/json",
         {"experiment": "tiles", "act": "start", "reason": "seen it"}],
    ]  # fmt: skip
    assert seen["keys"] == 5
    assert seen["asked"] == [
        "home: rollback?", "home: start the rollout of v3?", "home: promote?",
        "tiles: start? about 2.0 days until it is decided; B needs 1,200 viewers; "
        "max_run is 1.0; rows has not ended",
    ]  # fmt: skip
    tests = seen["tests"]
    for word in (
        "rows", "running", "ctr of A undecided", "against v1", "held out on v0", "77",
        "undecided: 0.4 against 0.3", "guard: errors", "tiles", "not started",
    ):  # fmt: skip
        assert word in tests["words"], word
    assert tests["told"][0] == "rows: stop is told"
    assert tests["told"][1].startswith("tiles: about 2.0 days until it is decided; B needs")
    assert tests["told"][2] == "tiles: start is told"
    assert seen["told"] == "home: v3 starts"
    assert (seen["problem"], seen["listed"], seen["others"]) == ("", True, False)


@pytest.mark.parametrize("path", ["acts", "start"])
def test_another_sites_page_pulls_no_lever(client: Any, plane: Any, path: str) -> None:
    body = {"service": "home", "reason": "x", "key": "k"}
    body |= {"act": "rollback"} if path == "acts" else {"version": "v3"}
    evil = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    assert client.post(f"/api/v1/rollouts/{path}", json=body, headers=evil).status_code == 403
    assert plane.control.calls == []
    own = {"origin": "http://127.0.0.1:7070", "sec-fetch-site": "same-origin"}
    assert client.post(f"/api/v1/rollouts/{path}", json=body, headers=own).status_code == 202
    assert len(plane.control.calls) == 1
    told = {"experiment": "rows", "act": "stop"}
    there = "/api/v1/experiments/acts"
    assert client.post(there, json=told, headers=evil).status_code == 403
    assert client.post(there, json=told, headers=own).status_code == 202
    assert len(plane.control.calls) == 2


@pytest.mark.skipif(NODE is None, reason="no node here to run the page's script")
def test_a_hostile_name_stays_text_in_every_view(fakes: Any, tmp_path: Path) -> None:
    program = tmp_path / "page.mjs"
    static = files("mlg.api") / "static"
    program.write_text(
        (Path(__file__).parent / "dom_stub.js").read_text()
        + (static / "dom.js").read_text()
        + (static / "views.js").read_text()
        + (static / "experiments.js").read_text()
        + f"\nconst hostile = {json.dumps(fakes.HOSTILE)};\n"
        + (Path(__file__).parent / "render_hostile.js").read_text()
    )
    done = subprocess.run(
        [str(NODE), str(program)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    drawn = json.loads(done.stdout)
    assert drawn["texts"] >= 20  # the hostile name was shown, as text, in each view
    assert set(drawn["tags"]) <= {
        "a", "b", "button", "code", "details", "div", "h3", "h4", "input", "label", "li",
        "line", "ol", "p", "path", "rect", "section", "span", "summary", "svg", "table",
        "tbody", "td", "text", "th", "thead", "title", "tr", "ul",
    }  # fmt: skip
    assert all(link.startswith("#trace=") for link in drawn["links"])
    assert drawn["links"]
    assert all(re.fullmatch(r"#trace=[\w.!~*'()%-]*", link) for link in drawn["links"])
