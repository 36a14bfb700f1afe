"""Rollouts that have not begun, and what each waits for: a small file each."""

from typing import Any

import msgspec

from mlg.core.ports import Files


def tell_waiting(files: Files, service: str, rollout: str, version: str, behind: str) -> None:
    """Tell that a rollout waits; empty `behind`: it does not any more. Twice is once.

    Args:
        files: The instance's small files.
        service: The service.
        rollout: Its id.
        version: What it brings.
        behind: What it waits for, in words: `experiment rows`, `rollout 0192…`.
    """
    path = f"{_folder(service)}/{rollout}.json"
    before = files.read(path)
    if not behind:
        if before is not None:
            files.remove(path)
        return
    told = {"rollout": rollout, "version": version, "waits_for": behind}
    content = msgspec.json.encode(told)
    if content != before:
        files.write(path, content)


def waiting(files: Files, service: str) -> list[dict[str, Any]]:
    """Return the rollouts of a service that wait: `{"rollout", "version", "waits_for"}`.

    Examples:
        >>> from mlg.adapters.files_memory import MemoryFiles
        >>> files = MemoryFiles()
        >>> tell_waiting(files, "home", "r1", "v2", "experiment rows")
        >>> [one["waits_for"] for one in waiting(files, "home")]
        ['experiment rows']
        >>> tell_waiting(files, "home", "r1", "v2", ""); waiting(files, "home")
        []
    """
    found = [files.read(path) for path in sorted(files.list(_folder(service)))]
    return [msgspec.json.decode(content) for content in found if content is not None]


def _folder(service: str) -> str:
    return f"services/{service}/waiting"
