"""How OpenLineage names things: a namespace and a name; and how our URIs come to have them.

OpenLineage's rule: the namespace is `scheme://authority` of where the data lies, the name is
the path in it.
"""

from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid5

from mlg.core.uris import Uri, parse_uri

OPENLINEAGE: Final = "openlineage"
"""The provider of what has OpenLineage's names in its URI, unchanged."""

_OF_URIS: Final = UUID("6d6c672d-6f70-5e6c-8c69-6e656167652d")
_PREFIX: Final = {"model": "model/", "model_version": "model/", "image": "image/"}


class Named(NamedTuple):
    """What OpenLineage calls a job or a dataset."""

    namespace: str
    name: str


def location_name(location: str) -> Named | None:
    """Return the name of data that lies at an address; None for a text that is no address.

    User, password, query and fragment are left out: they are no part of the name, and may be
    secret.

    Examples:
        >>> location_name("s3://lake/raw/users")
        Named(namespace='s3://lake', name='raw/users')
        >>> location_name("postgres://ada:pw@db:5432/shop.public.users")
        Named(namespace='postgres://db:5432', name='shop.public.users')
        >>> location_name("file:plays.csv")
        Named(namespace='file', name='plays.csv')
        >>> location_name("movielens-100k://ratings")
        Named(namespace='movielens-100k', name='ratings')
        >>> location_name("users") is None
        True
    """
    try:
        parts = urlsplit(location)
        authority = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    if not parts.scheme or not (authority or parts.path):
        return None
    path = parts.path if not authority else parts.path.lstrip("/")
    if authority and path:
        return Named(f"{parts.scheme}://{authority}", path)
    return Named(parts.scheme, authority or path)


def dataset_name(uri: Uri) -> Named:
    """Return the name of a dataset, a source, a model or an image, without its version.

    Examples:
        >>> dataset_name(Uri("mlg://dataset_version/mlg/movies/ratings@3f2a"))
        Named(namespace='mlg://movies', name='ratings')
        >>> dataset_name(Uri("mlg://model_version/mlg/movies/ranker@3f2a"))
        Named(namespace='mlg://movies', name='model/ranker')
        >>> dataset_name(Uri("mlg://dataset/openlineage/s3%3A%2F%2Flake/users"))
        Named(namespace='s3://lake', name='users')
    """
    parts = parse_uri(uri)
    if parts.kind == "source":
        return location_name(parts.name) or Named(f"mlg://{parts.namespace}", parts.name)
    if parts.provider == OPENLINEAGE:
        return Named(parts.namespace, parts.name)
    return Named(f"mlg://{parts.namespace}", _PREFIX.get(parts.kind, "") + parts.name)


def job_name(uri: Uri) -> Named:
    """Return the name of the job that a run or a step is one execution of.

    Examples:
        >>> job_name(Uri("mlg://run/mlg/movies/ranker@r1"))
        Named(namespace='mlg://movies', name='ranker')
        >>> job_name(Uri("mlg://step/mlg/movies/ranker%2Fclean@r1"))
        Named(namespace='mlg://movies', name='ranker.clean')
    """
    parts = parse_uri(uri)
    name = parts.name
    if parts.kind == "step":
        pipeline, _, step = name.rpartition("/")
        name = f"{pipeline}.{step}"
    if parts.provider == OPENLINEAGE:
        return Named(parts.namespace, name)
    return Named(f"mlg://{parts.namespace}", name)


def run_id(uri: Uri) -> str:
    """Return the UUID of a run or a step; always the same one.

    A run that has a UUID keeps it; a step's is made from its URI.

    Examples:
        >>> run_id(Uri("mlg://run/mlg/movies/ranker@01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01"))
        '01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01'
        >>> len(run_id(Uri("mlg://step/mlg/movies/ranker%2Fclean@r1")))
        36
    """
    parts = parse_uri(uri)
    if parts.kind == "run" and parts.version:
        try:
            return str(UUID(parts.version))
        except ValueError:
            pass
    return str(uuid5(_OF_URIS, uri))


def column_of(uri: Uri) -> tuple[str, str]:
    """Return a column's dataset and field; the first `/` of its name parts them.

    Examples:
        >>> column_of(Uri("mlg://column/mlg/movies/ratings%2Fstars"))
        ('ratings', 'stars')
    """
    dataset, _, field = parse_uri(uri).name.partition("/")
    return unquote(dataset), field


def repository_url(repository: str) -> str | None:
    """Return the address of a repository; None for a mere name.

    Examples:
        >>> repository_url("git@example.org:ada/churn.git")
        'ssh://git@example.org/ada/churn.git'
        >>> repository_url("https://example.org/ada/churn")
        'https://example.org/ada/churn'
        >>> repository_url("manifest") is None
        True
    """
    if "://" in repository:
        return repository
    host, colon, path = repository.partition(":")
    if colon and "@" in host and "/" not in host and path:
        return f"ssh://{host}/{path}"
    return None
