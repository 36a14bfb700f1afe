"""Open Bandit samples as `open-bandit://<random|bts>/<all|men|women>/<impressions|items>`.

Fashion impressions with position, click and propensity, logged by a uniform-random and by
a Thompson-sampling (`bts`) policy. The files come out of a wheel unchanged.
"""

from pathlib import Path
from typing import Final

from mlg.adapters.source_datasets import (
    Provider,
    PublicData,
    SourceFile,
    cached_file,
    wheel_members,
)
from mlg.core.errors import ManifestError

_WHEEL: Final = "obp==0.4.1"
_POLICIES: Final = ("bts", "random")
_CAMPAIGNS: Final = ("all", "men", "women")
_FEATURES: Final = tuple((f"user_feature_{i}", "VARCHAR") for i in range(4))
_ITEM_COLUMNS: Final = (
    ("row", "BIGINT"),
    ("item_id", "BIGINT"),
    ("item_feature_0", "DOUBLE"),
    *((f"item_feature_{i}", "VARCHAR") for i in range(1, 4)),
)
_IMPRESSION_COLUMNS: Final = (
    ("row", "BIGINT"),
    ("timestamp", "TIMESTAMPTZ"),
    ("item_id", "BIGINT"),
    ("position", "BIGINT"),
    ("click", "BIGINT"),
    ("propensity_score", "DOUBLE"),
    *_FEATURES,
)
_ITEMS_OF: Final = {"all": 80, "men": 34, "women": 46}
_PINS: Final = {
    f"{name}.csv": pin
    for name, pin in (
        (
            "bts-all-impressions",
            "0ad874e4dbf6902f0845dd478ad8dde5ef6903583d3ffaace78411bdad064106",
        ),
        ("bts-all-items", "5d4359ba1cfa3ae88f0f1bae66bd633859fe6323817183632ee57b83539d9153"),
        (
            "bts-men-impressions",
            "db6d1f7ed2d591ba521533e45286d4c1fba7fe57a8ad2e80342210335f43c527",
        ),
        ("bts-men-items", "3b411ed6b0471316321a6b93f4f756bb25888eac6218cd71d0b603d41d85732d"),
        (
            "bts-women-impressions",
            "e5d1b49a39b608585a2f3014a3f54970430cd37a495c1b73fceb85cdf428a5b8",
        ),
        ("bts-women-items", "a56295bad066a558eb783055afd9279f5f4e209a4776eafc22151c53f0ac89d4"),
        (
            "random-all-impressions",
            "7168295b6e0a9eabcf3392320a5dd434e542b68e705d5cd9491499af589812f1",
        ),
        (
            "random-all-items",
            "eba04cc23d5f130a93ff174c5392986882b94c3839433cb8143870eaa6221358",
        ),
        (
            "random-men-impressions",
            "ede6d08c6877f99cd3770f7d09e26c738e6aa6de4445ccccfb1356ba5d06b1eb",
        ),
        (
            "random-men-items",
            "6d855c2b7e917d0448d71bbe62c023147495882c0fdc8c41e86fef86abf9fe09",
        ),
        (
            "random-women-impressions",
            "e65f3bd3beb17664fa69cc129bf7bf852a775f8ffa630506e505fc905315bb34",
        ),
        (
            "random-women-items",
            "b1ca4905f97703d196004f2ad4552c1e90c2afad8b50688d333b0d2dc0b33147",
        ),
    )
}


class OpenBandit:
    """Finds the tables: cache, then the wheel that carries the samples."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._data = PublicData(
            name="open-bandit",
            pins=_PINS,
            providers=(Provider(name=f"the wheel {_WHEEL}", fetch=from_wheel),),
            remedy="connect once to the network, or copy the files of this folder from a "
            "machine that has them.",
        )

    def file(self, uri: str) -> SourceFile:
        """Return the local file of one table of one policy and campaign.

        Raises:
            ManifestError: There is no such table.
            BackendError: It is neither cached nor to be had.
        """
        parts = uri.partition("://")[2].split("/")
        known = len(parts) == 3 and parts[0] in _POLICIES and parts[1] in _CAMPAIGNS
        if not known or parts[2] not in {"impressions", "items"}:
            raise ManifestError(
                "expected open-bandit://<bts|random>/<all|men|women>/<impressions|items>",
                where=uri,
                hint="for example open-bandit://random/all/impressions.",
            )
        policy, campaign, table = parts
        path = cached_file(self._data, f"{policy}-{campaign}-{table}.csv", self._root)
        if table == "items":
            return SourceFile(path=path, format="csv", types=_ITEM_COLUMNS)
        affinities = tuple(
            (f"user-item_affinity_{i}", "DOUBLE") for i in range(_ITEMS_OF[campaign])
        )
        return SourceFile(path=path, format="csv", types=(*_IMPRESSION_COLUMNS, *affinities))


def from_wheel(scratch: Path) -> dict[str, bytes]:
    """Return the files of the samples, by their names in the cache.

    The wheel declares an older Python, so pip is told to resolve for that one.
    """
    members: dict[str, str] = {}
    for policy in _POLICIES:
        for campaign in _CAMPAIGNS:
            folder = f"obp/dataset/obd/{policy}/{campaign}"
            members[f"{folder}/{campaign}.csv"] = f"{policy}-{campaign}-impressions.csv"
            members[f"{folder}/item_context.csv"] = f"{policy}-{campaign}-items.csv"
    options = ("--python-version", "3.9", "--only-binary=:all:")
    return wheel_members(_WHEEL, members, scratch, *options)
