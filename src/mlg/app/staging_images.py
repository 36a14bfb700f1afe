"""Which image staging tests: the one that `mlg image build` makes of the version."""

from dataclasses import replace
from pathlib import Path

from mlg.app.stack_plan import ImageOf, StackImage, on_this_machine
from mlg.app.startable import HOST, startable_image
from mlg.workflows.packaged import Packaged


def built_image(home: Path) -> ImageOf:
    """Return what gives each version its startable image; built once, then kept.

    The version runs as it would anywhere, from its image alone. Servers of one's own run
    over this machine's Python, as the launcher starts them.

    Args:
        home: The instance's folder.
    """

    def image_of(packaged: Packaged) -> StackImage:
        built = startable_image(home, packaged.artifact[:12], base=HOST)
        image = StackImage(
            reference=f"localhost/{built.name}", layout=built.path, digest=built.digest
        )
        return replace(image, servers=on_this_machine(image))

    return image_of
