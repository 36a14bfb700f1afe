"""The two-stage model: no skew, no leak, no surprise for the one who asks."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest_path import film_roles, film_tables, fit_films, SMALL, START
