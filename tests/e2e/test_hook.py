"""A push to a real repository starts the runs of what it touches, by each ready-made file."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tests.chaos.test_kill_control import events
from tests.conftest import Cli, until

CI = Path(__file__).parents[2] / "examples" / "ci"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")

SECOND = """
  other:
    on: {commit: main}
    steps:
      other_clean: {sql: sql/other.sql, in: [plays]}
      other_train:
        model: popularity
        in: [other_clean]
        roles: {interactions: {table: other_clean, item: item, at: played_at, value: stars}}
"""
TESTS = "test ! -e broken"


class Repository:
    """A bare repository, and a clone in which a person works."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.bare, self.clone = folder / "tiny.git", folder / "clone"
        who = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com",
               "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
               "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}  # fmt: skip
        self.env = {**env, **who}
        self.git("init", "--bare", "--initial-branch=main", str(self.bare), at=folder)
        self.git("clone", "--quiet", str(self.bare), str(self.clone), at=folder)
        self.git("checkout", "-B", "main")

    @classmethod
    def of(cls, cli: Cli, folder: Path) -> "Repository":
        """Return one with the project's manifest and SQL pushed."""
        found = cls(folder, cli.env)
        shutil.copy(cli.folder / "mlg.yaml", found.clone)
        shutil.copytree(cli.folder / "sql", found.clone / "sql")
        found.git("add", "-A")
        found.git("commit", "-m", "begin")
        found.git("push", "origin", "main")
        return found

    def git(self, *words: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *words], cwd=at or self.clone, env=self.env, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip() + done.stderr

    def push(self, path: str, text: str) -> str:
        """Commit a file with a line more and push; return what the other end says."""
        file = self.clone / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + text)
        self.git("add", "-A")
        self.git("commit", "-m", f"change {path}")
        return self.git("push", "origin", "main")


@pytest.fixture
def repository(cli: Cli, tmp_path: Path) -> Repository:
    """Serve the tiny project from what is pushed; its data is not in git."""
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().replace("  list:\n", "  list:\n    on: {commit: main}\n", 1)
    manifest.write_text(text.replace("services:\n", SECOND.lstrip("\n") + "services:\n"))
    clean = (cli.folder / "sql" / "clean.sql").read_text()
    (cli.folder / "sql" / "other.sql").write_text(clean)
    cli.env |= {
        "MLG_HOOK_SECRET": "secret://env/HOOK_SECRET",
        "HOOK_SECRET": "s3cret",
        "PATH": shim_path(tmp_path),
    }
    return Repository.of(cli, tmp_path)


def shim_path(folder: Path) -> str:
    """Return a PATH on which `mlg` is this one."""
    shim = folder / "bin" / "mlg"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m mlg "$@"\n')
    shim.chmod(0o755)
    return f"{shim.parent}{os.pathsep}{os.environ['PATH']}"


def started(cli: Cli) -> list[str]:
    """Return the pipelines whose runs began, in order."""
    return [
        re.sub(r".*/([a-z]+)@.*", r"\1", e["subject"])
        for e in events(cli)
        if e["type"] == "mlg.run.started"
    ]


def test_a_push_starts_what_it_touches_and_nothing_else(
    cli: Cli, repository: Repository
) -> None:
    cli("up", "--wait", "--port", "0")
    foreign = repository.bare / "hooks" / "post-receive"
    foreign.write_text('#!/bin/sh\ncat > "$(dirname "$0")/seen"\n')
    foreign.chmod(0o755)
    install = ("hook", "install", str(repository.bare), "--work-tree", str(cli.folder),
               "--test", TESTS, "--secret", "secret://env/HOOK_SECRET")  # fmt: skip
    cli(*install)
    again = cli.json(*install)
    assert again["kept"] == f"{foreign}.local"
    assert "s3cret" not in foreign.read_text()

    said = repository.push("sql/clean.sql", "-- a word more\n")
    assert "accepted: runs started: 1" in said, said
    old, new, ref = (repository.bare / "hooks" / "seen").read_text().split()
    assert ref == "refs/heads/main"
    assert (cli.folder / "sql" / "clean.sql").read_text().endswith("a word more\n")
    until(lambda: started(cli))
    assert started(cli) == ["list"]
    (accepted,) = [e for e in events(cli) if e["type"] == "mlg.hook.accepted"]
    assert (accepted["data"]["runs"] != "", accepted["actor"]) == (True, "hook:mlg")
    assert accepted["subject"].endswith(new)
    assert repository.git("rev-parse", "HEAD^") == old

    said = repository.push("README.md", "# tiny\n")
    assert "it changes no file of a pipeline that starts" in said
    (repository.clone / "broken").touch()
    said = repository.push("sql/other.sql", "-- a word more\n")
    assert "its tests are not known to have passed" in said
    repository.git("rm", "--quiet", "broken")
    repository.git("commit", "-m", "repair")
    said = repository.git("push", "origin", "main")  # what did not pass is still to be trained
    assert "accepted: runs started: 1" in said, said
    until(lambda: len(started(cli)) == 2)
    assert started(cli) == ["list", "other"]
    repeated = cli.json(
        "hook", "send", "--repo", str(repository.bare), "--tests", "passed", "--commit", new,
        "--since", old, "--branch", "main", "--folder", ".",
    )  # fmt: skip
    assert (repeated["outcome"], repeated["runs"]) == ("replayed", [])
    assert len([e for e in events(cli) if e["type"] == "mlg.hook.accepted"]) == 4
    cli("down")
    away = repository.push("sql/other.sql", "-- while nobody listens\n")
    assert "no control plane runs here" in away  # and the push itself is done
    assert repository.git("rev-parse", "HEAD") in repository.git("ls-remote", "origin")


def filled(script: str, expressions: dict[str, str]) -> str:
    """Return a script with its `${{ … }}` replaced; one that is not known is an error."""
    return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda m: expressions[m[1]], script)


def shell(scripts: list[str], env: dict[str, str], folder: Path) -> str:
    """Run a job's scripts as runners do, one after the other."""
    said = ""
    for script in scripts:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script], env=env, cwd=folder,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        said += done.stdout
    return said


def test_the_jobs_of_github_and_gitlab_do_the_same(cli: Cli, repository: Repository) -> None:
    cli("up", "--wait", "--port", "0")
    port = cli.json("status")["ports"]["control"]
    for data in ("plays.csv", "things.csv"):  # a fresh checkout has no data
        shutil.copy(cli.folder / data, repository.clone)
    (repository.clone / ".gitignore").write_text("*.csv\n")
    before = repository.git("rev-parse", "HEAD")
    repository.push("sql/other.sql", "-- by GitHub\n")
    head = repository.git("rev-parse", "HEAD")

    job: Any = YAML(typ="safe").load((CI / "github.yml").read_text())["jobs"]["tell"]
    expressions = {
        "secrets.MLG_HOOK_SECRET": "s3cret",
        "needs.test.result == 'success' && 'passed' || 'failed'": "passed",
        "github.event.before": before,
    }
    given = {name: filled(str(value), expressions) for name, value in job["env"].items()}
    own = {"MLG_HOME": str(cli.home), "MLG_URL": f"http://127.0.0.1:{port}"}
    runner = {"GITHUB_SHA": head, "GITHUB_REF_NAME": "main", "GITHUB_REPOSITORY": "team/tiny"}
    scripts = [filled(step["run"], expressions) for step in job["steps"] if "run" in step]
    assert len(scripts) == 2
    said = shell(scripts, {**repository.env, **given, **own, **runner}, repository.clone)
    assert "runs started: 1" in said, said
    until(lambda: started(cli))
    assert started(cli) == ["other"]

    before = head
    repository.push("sql/clean.sql", "-- by GitLab\n")
    head = repository.git("rev-parse", "HEAD")
    whole: Any = YAML(typ="safe").load((CI / "gitlab.yml").read_text())
    runner = {"CI_COMMIT_SHA": head, "CI_COMMIT_BEFORE_SHA": before, "CI_COMMIT_BRANCH": "main",
              "CI_PROJECT_PATH": "team/tiny"}  # fmt: skip
    env = {**repository.env, **whole["variables"], **own, **runner, "HOOK_SECRET": "s3cret"}
    failed = shell(whole["tell-failed"]["script"], env, repository.clone)
    assert "its tests are not known to have passed" in failed
    said = shell(whole["tell"]["script"], env, repository.clone)
    assert "runs started: 1" in said, said
    until(lambda: len(started(cli)) == 2)
    assert started(cli) == ["other", "list"]


def test_the_ready_made_files_are_what_their_readers_take() -> None:
    for name, schema, more in (
        ("github.yml", "vendor.github-workflows", ()),
        ("gitlab.yml", "vendor.gitlab-ci", ("--data-transform", "gitlab-ci")),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *more,
             str(CI / name)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_hook_beside_them_is_what_install_writes() -> None:
    from mlg.cli.hook_install import HookOptions, script

    options = HookOptions(
        test="make test", secret="secret://file//etc/mlg/hook.key", branch="main",
        tree=Path("/srv/movies"), manifest="mlg.yaml", home=Path("/srv/movies/.mlg"), url="",
    )  # fmt: skip
    text = script("post-receive", Path("/srv/movies.git"), options, mlg="mlg")
    assert (CI / "post-receive").read_text() == text
