"""A hook of plain git that tests a commit, applies its manifest and tells of it."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mlg.adapters.git_local import LocalGit
from mlg.core.errors import BackendError, ConflictError, ManifestError

Kind = Literal["post-receive", "post-commit"]

MARK: Final = "# mlg hook:"
_THIS_MLG: Final = f"{shlex.quote(sys.executable)} -m mlg"
_LOCAL: Final = ".local"
"""What is put behind the name of a hook that was there before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookOptions:
    """What the hook does."""

    test: str
    """Shell command, run in the work tree; the tests passed where it ends with 0."""
    secret: str
    """`secret://…`; the hook names it and holds none."""
    branch: str
    tree: Path
    """Where a bare repository's commits are checked out: the folder of the instance. Of
    another repository, its work tree."""
    manifest: str
    """The manifest, from the top of the tree."""
    home: Path | None
    url: str
    """Address of the control plane; empty: that of the home."""


def install(repository: Path, options: HookOptions) -> tuple[Path, Path | None]:
    """Write the hook; return its path, and that of the hook that was there before, if any.

    A bare repository gets `post-receive`, another one `post-commit`. Installed again it is
    replaced. Another program's hook is kept beside it and runs first, with the same input;
    where it fails, its status is the hook's, and nothing is told.

    Raises:
        NotFoundError: No such repository.
        ManifestError: A path or a secret that cannot be right.
        ConflictError: Another hook is there, and one was kept before: they are two.
        BackendError: The files could not be written.
    """
    git = LocalGit(repository)
    kind: Kind = "post-receive" if git.bare else "post-commit"
    if not options.secret.startswith("secret://"):
        raise ManifestError(
            "expected secret://env/NAME or secret://file/PATH",
            where="--secret",
            hint="the hook's file names the secret and holds none.",
        )
    if "\n" in options.test or not options.test.strip():
        raise ManifestError("expected one shell command, in one line", where="--test")
    path = git.hooks() / kind
    kept = path.with_name(kind + _LOCAL)
    text = script(kind, repository.resolve(), options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and MARK not in path.read_text("utf-8", "replace"):
            if kept.exists():
                raise ConflictError(
                    "there are two other hooks already",
                    where=f"{path} and {kept.name}",
                    hint="make them one, then install again.",
                )
            path.rename(kept)
        fresh = path.with_name(kind + ".new")
        fresh.write_text(text, "utf-8")
        fresh.chmod(0o755)
        fresh.rename(path)
    except OSError as error:
        raise BackendError(
            f"the hook could not be written: {error}", where=str(path)
        ) from error
    return path, kept if kept.exists() else None


def script(kind: Kind, repository: Path, options: HookOptions, *, mlg: str = _THIS_MLG) -> str:
    """Return the hook's text, for `sh`; `mlg` is the command as a shell writes it."""
    home = f" --home {shlex.quote(str(options.home))}" if options.home else ""
    url = f" --url {shlex.quote(options.url)}" if options.url else ""
    values = {
        "KIND": kind,
        "MARK": MARK,
        "LOCAL": kind + _LOCAL,
        "MLG": mlg,
        "REPOSITORY": shlex.quote(str(repository)),
        "TREE": shlex.quote(str(options.tree.resolve())),
        "BRANCH": shlex.quote(options.branch),
        "MANIFEST": shlex.quote(options.manifest),
        "TEST": shlex.quote(options.test),
        "SECRET": shlex.quote(options.secret),
        "HOME": home,
        "URL": url,
    }
    text = _COMMON + (_RECEIVE if kind == "post-receive" else _COMMIT)
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


_COMMON: Final = """\
#!/bin/sh
@MARK@ written by `mlg hook install`; install again to change it.
# A hook that was here before lies beside it, @LOCAL@, and runs first.
here=$(cd "$(dirname "$0")" && pwd)
repository=@REPOSITORY@
tree=@TREE@
branch=@BRANCH@
manifest=@MANIFEST@
test=@TEST@

# tell COMMIT BEFORE: test what lies in the tree, put its manifest in force, tell of it. What
# changed is counted from the commit that was told last, so one that was not told is not lost.
tell() {
  unset $(git rev-parse --local-env-vars)
  told=refs/mlg/told/$branch
  since=$(git -C "$repository" rev-parse --verify --quiet "$told" || echo "$2")
  if (cd "$tree" && sh -c "$test") >&2; then verdict=passed; else verdict=failed; fi
  if [ "$verdict" = passed ]; then
    @MLG@ apply --yes -f "$tree/$manifest"@HOME@ >&2 || return
  fi
  @MLG@ hook send --repo "$repository" --commit "$1" --since "$since" --branch "$branch" \\
    --tests "$verdict" --secret @SECRET@@URL@@HOME@ \\
    -f "$tree/$manifest" --folder "$(dirname "$manifest")" >&2 &&
    git -C "$repository" update-ref "$told" "$1"
}
"""

_RECEIVE: Final = """
told=$(cat)
git_dir=$(git rev-parse --absolute-git-dir)
if [ -x "$here/@LOCAL@" ]; then
  printf '%s\\n' "$told" | "$here/@LOCAL@" "$@" || exit
fi
if command -v flock >/dev/null; then  # one push at a time in the tree
  exec 9>"$git_dir/mlg.lock"
  flock 9
fi
printf '%s\\n' "$told" | while read -r old new ref; do
  [ "$ref" = "refs/heads/$branch" ] || continue
  case $new in *[!0]*) ;; *)
    echo "mlg: $branch was deleted; nothing is told" >&2
    continue
  esac
  # a newer push tells of this one too
  [ "$(git rev-parse --verify --quiet "$ref")" = "$new" ] || continue
  # an index of its own, so that the repository's HEAD stays what it is
  GIT_INDEX_FILE="$git_dir/mlg.index" git --work-tree="$tree" read-tree --reset -u "$new" || {
    echo "mlg: $tree could not be brought to $new; nothing is told" >&2
    continue
  }
  (tell "$new" "$old") </dev/null 9>&-
done
"""

_COMMIT: Final = """
if [ -x "$here/@LOCAL@" ]; then
  "$here/@LOCAL@" "$@" || exit
fi
[ "$(git symbolic-ref --quiet --short HEAD)" = "$branch" ] || exit 0
if ! git diff --quiet HEAD; then
  echo "mlg: there are changes that are not committed, so the commit was not tested" >&2
  exit 0
fi
new=$(git rev-parse HEAD)
(tell "$new" "$(git rev-parse --verify --quiet 'HEAD^1')") </dev/null
"""
