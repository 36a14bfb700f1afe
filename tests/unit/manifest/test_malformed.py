"""Every mistake is `file:line:column: expected …, got …`, with one thing to do."""

# ruff: noqa: E501 - a case a line is easier to read

from pathlib import Path

import pytest

from mlg.core.errors import ManifestError
from mlg.manifest.load import load_manifest, parse_manifest

HEAD = "version: 1\nproject: films\n"
DATA = """\
datasets:
  ratings:
    source: {uri: ratings.csv}
    columns: {user: {type: int64}, film: {type: int64}, stars: {type: int64}}
"""
# 7 lines so far; the first step stands at line 10
STEPS = f"""\
{HEAD}{DATA}\
pipelines:
  ranker:
    steps:
"""
TRAIN = """\
      train:
        model: two_stage
        in: [ratings]
        roles: {interactions: {table: ratings, item: film, at: at, viewer: user}}
"""
# the service stands at line 16
SERVICE = f"""\
{STEPS}{TRAIN}services:
  home:
    model: ranker
"""
PEOPLE = """\
  people:
    source: {uri: people.csv}
    columns: {id: {type: int64}, gender: {type: string}, age: {type: int64}, city: {type: string}}
"""
# the monitor stands at line 21
GROUPS = (
    SERVICE.replace("pipelines:\n", PEOPLE + "pipelines:\n")
    .replace("in: [ratings]", "in: [ratings, people]")
    .replace(
        "viewer: user}}",
        "viewer: user},\n                "
        "viewers: {table: people, key: id, features: [gender, age, city]}}",
    )
    + "monitors: {m: {watch: home, groups: "
)
CASES = [
    # --- the text
    ("", "1:1", "expected a mapping, got an empty file", "mlg init"),
    ("# only a comment\n", "1:1", "expected a mapping, got an empty file", "mlg init"),
    ("- a\n- b\n", "1:1", "expected a mapping with version, project, datasets", "a list of 2"),
    ("just words\n", "1:1", "expected a mapping with version", "got 'just words'"),
    ("a: 1\n\tb: 2\n", "2:1", "expected spaces, got a tab", "spaces only"),
    (HEAD + "---\nversion: 1\n", "3:1", "expected one YAML document, got a second one", "`---`"),
    ("version: 1\nproject: a: b\n", "2:11", "got a second `:` or a wrong indent", "in quotes"),
    ("version: 1\nproject: *x\n", "2:10", "expected a known anchor, got 'x'", "before its alias"),
    ("version: 1\nproject: @x\n", "2:10", "expected a value, got character '@'", "in quotes"),
    ("version: [1\nproject: x\n", "2:8", "while parsing a flow sequence", "brackets"),
    ("version: 1\nproject: 'x\n", "3:1", "while scanning a quoted scalar", "quotes"),
    ("version: 1\nproject: a\x07b\n", "2:11", "expected text, got a control character", ""),
    ("version: 1\nproject: &a [*a]\n", "2:10", "an alias inside its own anchor", ""),
    ("version: 1\nproject: !!python/name:os.system x\n", "2:10", "expected a plain value", "tag"),
    (HEAD + "project: other\n", "3:1", "expected each key once, got 'project' again", "line 2"),
    ("version: 1\n2: x\n", "2:1", "expected a text as key, got 2", "in quotes"),
    ("version: 1\n[a]: x\n", "2:1", "expected a text as key, got a sequence", ""),
    ("%YAML 1.1\n---\non: x\n", "3:1", "expected a text as key, got on", "%YAML 1.1"),
    ("version: .inf\n", "1:10", "expected a finite number, got .inf", "infinity"),
    ("version: 99999999999999999999\n", "1:10", "expected a whole number up to 2^53", ""),
    ("[" * 600, "1:1", "nested too deeply", ""),
    ("a: " + "[" * 70 + "]" * 70, "1:67", "expected at most 64 levels, got more", ""),
    (HEAD + "a: &m 1\nb: {<<: *m}\n", "4:5", "expected a mapping to merge after <<", "*anchor"),
    # --- keys
    ("version: 1\n", "1:1", "expected the key 'project'", "add `project:`"),
    ("project: films\n", "1:1", "expected the key 'version'", "add `version:`"),
    (HEAD + "dataset: {}\n", "3:1", "got the key 'dataset'", "did you mean datasets?"),
    ("version: 1\nprojct: films\n", "2:1", "got the key 'projct'", "did you mean project?"),
    (SERVICE + "    replica: 2\n", "17:5", "services.home: expected one of model, command, health, replicas", "replicas?"),
    (SERVICE + "    Replicas: 2\n", "17:5", "got the key 'Replicas'", "did you mean replicas?"),
    ("version: 2\nproject: films\n", "1:10", "version: expected 1, got 2", ""),
    ("version: '1'\nproject: films\n", "1:10", "version: expected 1, got '1'", ""),
    ("version: 1\nproject: 7\n", "2:10", "project: expected a name of letters", "quotes"),
    ("version: 1\nproject:\n", "2:1", "project: expected a name of letters, digits", "got nothing"),
    ("version: 1\nproject: my films\n", "2:10", "project: expected a name", "'my films'"),
    (HEAD + "datasets: []\n", "3:11", "datasets: expected a mapping, got an empty list", ""),
    (HEAD + "services:\n  my home: {}\n", "4:3", "the key 'my home' of services: expected a name", ""),
    # --- datasets
    (HEAD + "datasets: {a: {source: {uri: x}}}\n", "3:15", "expected the key 'columns'", ""),
    (HEAD + "datasets: {a: {source: {uri: x}, columns: {}}}\n", "3:43", "at least one entry", ""),
    (HEAD + "datasets: {a: {source: {uri: ''}, columns: {b: {type: date}}}}\n", "3:30",
     "datasets.a.source.uri: expected a text that is not empty, got ''", ""),
    (HEAD + "datasets: {a: {source: x, columns: {b: {type: date}}}}\n", "3:24",
     "datasets.a.source: expected a mapping with uri, options, got 'x'", ""),
    (HEAD + "datasets: {a: {source: {uri: x}, columns: {b: {type: integer}}}}\n", "3:54",
     "datasets.a.columns.b.type: expected a column type, like int64", "'integer'"),
    (HEAD + "datasets: {a: {source: {uri: x}, columns: {b: {type: date, nullable: maybe}}}}\n",
     "3:70", "expected true or false, got 'maybe'", ""),
    (HEAD + "datasets: {a: {source: {uri: x}, columns: {b: {type: int8, range: [5, 1]}}}}\n",
     "3:60", "datasets.a.columns.b.range: expected [smallest, largest], got [5, 1]", ""),
    (HEAD + "datasets: {a: {source: {uri: x}, columns: {b: {type: int8, range: [5]}}}}\n",
     "3:67", "expected a list of 2, got a list of 1", ""),
    (HEAD + DATA + "    checks: [{unique: usr}]\n", "7:23",
     "expected the name of a column of the dataset, got 'usr'", "did you mean user?"),
    (HEAD + DATA + "    checks: [{rows: {min: 5, max: 1}}]\n", "7:15",
     "expected min to be at most max, got 5 and 1", ""),
    (HEAD + DATA + "    checks: [{rows: {min: 5}, unique: user}]\n", "7:15",
     "expected exactly one of unique, rows, freshness, references, values", "unique and rows"),
    (HEAD + DATA + "    checks: [{}]\n", "7:14", "expected exactly one of unique", "empty mapping"),
    (HEAD + DATA + "    checks: [{freshness: {column: stars, max_age: 30}}]\n", "7:51",
     "expected a duration, like 30m, got 30", "for example 30s"),
    (HEAD + DATA + "    checks: [{references: {columns: user, dataset: users, keys: id}}]\n", "7:52",
     "expected the name of a dataset, got 'users'", "known are ratings"),
    (HEAD + DATA + "    checks: [{references: {columns: user, dataset: ratings, keys: [user, film]}}]\n",
     "7:61", "expected as many keys as columns, got 2 and 1", ""),
    # --- pipelines
    (STEPS + "      a: {sq: a.sql, in: [ratings]}\n", "10:10",
     "expected one of the keys sql, python, model, gates, image", "did you mean sql?"),
    (STEPS + "      a: a.sql\n", "10:10", "pipelines.ranker.steps.a: expected a step, got 'a.sql'", ""),
    (STEPS + "      a: {sql: a.sql, python: 'm:f', in: [ratings]}\n", "10:23",
     "got sql and python", "make two steps"),
    (STEPS + "      a: {sql: a.sql, in: [rating]}\n", "10:28",
     "steps.a.in[0]: expected the name of a dataset or an output, got 'rating'",
     "did you mean ratings?"),
    (STEPS + "      a: {sql: a.sql, in: []}\n", "10:27", "expected a list of datasets", "empty list"),
    (STEPS + "      a: {sql: a.sql}\n", "10:10", "expected the key 'in'", "add `in:`"),
    (STEPS + "      a: {python: f, in: [ratings]}\n", "10:19",
     'expected a function as "module:function", got \'f\'', ""),
    (STEPS + "      a: {sql: a.sql, in: [b]}\n      b: {sql: b.sql, in: [c]}\n      c: {sql: c.sql, in: [a]}\n",
     "10:23", "expected steps without a cycle, got a -> b -> c -> a", "remove one"),
    (STEPS + "      a: {sql: a.sql, in: [a]}\n", "10:23", "got a -> a", ""),
    (STEPS + "      a: {sql: a.sql, in: [ratings], out: ratings}\n", "10:43",
     "expected a name of its own for what the step makes, got 'ratings'", "a dataset has"),
    (STEPS + "      a: {sql: a.sql, in: [ratings], out: t}\n      b: {sql: b.sql, in: [ratings], out: t}\n",
     "11:43", "expected a name of its own", "the step 'a' has this name already"),
    (STEPS + "      a: {sql: a.sql, in: [ratings], out: t}\n      b: {sql: b.sql, in: [a]}\n",
     "11:28", "expected the name of a dataset or an output, got 'a'", "the step 'a' makes 't'"),
    (STEPS + "      source_x: {sql: a.sql, in: [ratings]}\n", "10:7",
     "expected a name that does not begin with source_", "snapshots"),
    (STEPS + TRAIN + "      b: {sql: b.sql, in: [train]}\n", "14:28",
     "expected a table, got 'train', which is a train step", ""),
    (STEPS + TRAIN.replace("two_stage", "two_stages"), "11:16",
     "expected two_stage, context_ranker, popularity or module:Class", "did you mean two_stage?"),
    (STEPS + TRAIN.replace("table: ratings", "table: rating"), "13:39",
     "roles.interactions.table: expected the name of an input of the step, got 'rating'",
     "did you mean ratings?"),
    (STEPS + TRAIN.replace(", viewer: user}", "}, viewers: {table: ratings, key: user}"), "13:69",
     "expected no viewers where interactions have no `viewer`", "add `viewer:`"),
    (STEPS + TRAIN + "        seed: -1\n", "14:15", "expected a whole number from 0 to", "got -1"),
    (STEPS + TRAIN + "        seed: '7'\n", "14:15", "expected a whole number", "remove the quotes"),
    (STEPS + TRAIN + "      e: {in: [ratings], gates: {}}\n", "14:11",
     "expected a train step among the inputs, got none", ""),
    (STEPS + TRAIN + "      e: {in: [train], gates: {}}\n", "14:11",
     "expected a table among the inputs, got none", ""),
    (STEPS + TRAIN + "      e: {in: [train, ratings], gates: {NDCG: {min: 1}}}\n", "14:41",
     "expected a metric, like ndcg@10, got 'NDCG'", ""),
    (STEPS + TRAIN + "      e: {in: [train, ratings], gates: {ndcg@10: {}}}\n", "14:41",
     "expected at least one of better_than, not_worse_than, min or max, got none", ""),
    (STEPS + TRAIN + "      e: {in: [train, ratings], gates: {n: {min: 0, margin: 2}}}\n", "14:61",
     "expected a percentage in steps of 0.01%, like 0.5%, got 2", "for example 2%"),
    (STEPS + TRAIN + "      e: {in: [train, ratings], gates: {n: {min: 0, margin: 2%}}}\n", "14:61",
     "expected a margin only beside not_worse_than", ""),
    (STEPS + "      a: {sql: a.sql, in: [ratings]}\n    engine: spork\n", "11:13",
     "expected duckdb or spark, got 'spork'", "did you mean spark?"),
    (STEPS + "      a: {sql: a.sql, in: [ratings]}\n    schedule: nightly\n", "11:15",
     "expected five cron fields", ""),
    # --- services
    (SERVICE.replace("model: ranker", "model: rankr"), "16:12",
     "services.home.model: expected the name of a pipeline, got 'rankr'", "did you mean ranker?"),
    (SERVICE.replace("model: ranker", "replicas: 1"), "15:3", "expected a model, an address to adopt or a command, got none", ""),
    (SERVICE + "    command: [python, a.py]\n", "16:12", "expected no model beside a command", ""),
    (SERVICE + "    fallback_list: a.json\n", "17:20", "expected a list only beside adopt", "own list"),
    (SERVICE + "    resources: {open_files: 3}\n", "17:29", "from 32", ""),
    (SERVICE + "    replicas: two\n", "17:15", "expected a whole number from 1 to 1000, got 'two'", ""),
    (SERVICE + "    replicas: 0\n", "17:15", "expected a whole number from 1 to 1000, got 0", ""),
    (SERVICE + "    replicas: true\n", "17:15", "expected a whole number from 1 to 1000, got true", ""),
    (SERVICE + "    depends_on: [home]\n", "17:5", "without a cycle, got home -> home", ""),
    (SERVICE + "    depends_on: [profiles]\n", "17:18", "name of a service, got 'profiles'", "home"),
    (SERVICE + "    fallback: popular\n", "17:15", "expected popularity, got 'popular'", "popularity?"),
    (SERVICE + "    clock: wall\n", "17:12", "expected request or system, got 'wall'", ""),
    (SERVICE + "    resources: {memory: 1G}\n", "17:25", "expected a size, like 1GiB, got '1G'", ""),
    (SERVICE + "    resources: {cpu: 0}\n", "17:22", "expected a number above 0, got 0", ""),
    (SERVICE + "    confidence: {abstain_below: 1.5}\n", "17:33", "expected a number from 0 to 1", "1.5"),
    (SERVICE + "    confidence: {explore: 0.01}\n", "17:27", "expected a percentage", "0.01%"),
    (SERVICE + "    confidence: {explore: 0.001%}\n", "17:27", "in steps of 0.01%", "0.001%"),
    (SERVICE + "    confidence: {explore: 101%}\n", "17:27", "from 0% to 100%, got '101%'", ""),
    (SERVICE + "    rollout: {canary: {steps: [5%, 1%, 100%]}}\n", "17:36",
     "rollout.canary.steps[1]: expected a share above 5%, got 1%", "only rise"),
    (SERVICE + "    rollout: {canary: {steps: [0%, 100%]}}\n", "17:32",
     "expected a share above 0%, got 0%", "the usual first step is 0.5%."),
    (SERVICE + "    rollout: {canary: {steps: [5%, 50%]}}\n", "17:36",
     "expected 100% as the last step, got 50%", "add 100%"),
    (SERVICE + "    rollout: {gates: {error: {alpha: 0.1}}}\n", "17:23",
     "got 'error'", "did you mean errors?"),
    (SERVICE + "    rollout: {gates: {cpu: {min: 1%}}}\n", "17:34",
     "expected alpha, max_increase, max for cpu, got min", ""),
    (SERVICE + "    rollout: {gates: {errors: {}}}\n", "17:23", "at least one of alpha", ""),
    (SERVICE + "    rollout: {staging: {window: 1am-5am}}\n", "17:33", "a daily span", ""),
    (SERVICE + "    rollback: {latency_p99: {max: 1%}}\n", "17:35", "expected a duration, like 150ms", ""),
    # --- what watches
    (SERVICE + "monitors: {m: {watch: hme}}\n", "17:23",
     "expected the name of a service, got 'hme'", "did you mean home?"),
    (SERVICE + "monitors: {m: {watch: home, window: 5}}\n", "17:37",
     "expected a duration or a count, like 2s or 1000 events, got 5", ""),
    (SERVICE + "monitors: {m: {watch: home, limits: {false_alarms: 30d}}}\n", "17:52",
     "expected a count per duration, like 1/30d, got '30d'", ""),
    (SERVICE + "monitors: {m: {watch: home, features: [all, age]}}\n", "17:29",
     "expected `all` or a list of features, got both", ""),
    (GROUPS + "viewer:plan}}\n", "21:37", "groups[0]: expected a feature of viewers that two_stage "
     "logs, got 'viewer:plan'", "known are viewer:gender, viewer:age, viewer:city."),
    (GROUPS + "gender}}\n", "21:37", "got 'gender'", "did you mean viewer:gender?"),
    (GROUPS + "[viewer:gendr]}}\n", "21:38", "got 'viewer:gendr'", "did you mean viewer:gender?"),
    (GROUPS + "[viewer:gender, viewer:age]}}\n", "21:53",
     "groups[1]: expected a text feature, got 'viewer:age' of type int64", "like age bands"),
    (GROUPS + "[viewer:gender, viewer:gender]}}\n", "21:53",
     "groups[1]: expected each feature once, got 'viewer:gender' again", ""),
    (SERVICE + "monitors: {m: {watch: home, groups: [a, b, c, d]}}\n", "17:29",
     "monitors.m.groups: expected at most 3 features, got 4", "all share `false_alarms`"),
    (SERVICE + "monitors: {m: {watch: home, groups: viewer:gender}}\n", "17:37",
     "got 'viewer:gender'", "its roles name none."),
    (SERVICE.replace("two_stage", "popularity") + "monitors: {m: {watch: home, groups: history_length}}\n",
     "17:37", "a feature that popularity logs as text", "only two_stage and context_ranker log"),
    (SERVICE + "monitors: {m: {watch: home, groups: 5}}\n", "17:37",
     "expected a feature or a list of features, got 5", ""),
    (SERVICE + "calendar: [{promotion: a, from: 2026-07-08, to: 2026-07-01}]\n", "17:49",
     "calendar[0].to: expected a day from 2026-07-08 on, got 2026-07-01", ""),
    (SERVICE + "calendar: [{promotion: a, from: 2026-07-08}]\n", "17:12", "both from and to", ""),
    (SERVICE + "calendar: [{from: 2026-13-01, to: 2026-07-01, holiday: h}]\n", "17:19",
     "expected a day or a UTC time, like 2026-07-01", "'2026-13-01'"),
    (HEAD + "automations: {a: {on: {}, do: [{audit: {note: x}}]}}\n", "3:23",
     "automations.a.on: expected exactly one of alert, confidence_drop, rollout, run, health, "
     "schedule, got an empty mapping", ""),
    (HEAD + "automations: {a: {on: {alert: x, run: failed}, do: [{audit: {note: x}}]}}\n", "3:34",
     "expected exactly one of alert, confidence_drop, rollout, run, health, schedule, "
     "got alert and run", ""),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{emial: {to: a@b.c, subject: x}}]}}\n", "3:41",
     "automations.a.do[0]: expected one of email, webhook,", "did you mean email?"),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{email: {to: a@b.c}}]}}\n", "3:48",
     "automations.a.do[0].email: expected the key 'subject'", "add `subject:` here."),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{email: {to: a b, subject: x}}]}}\n", "3:53",
     "do[0].email.to[0]: expected a mail address, like marketing@example.com, got 'a b'", ""),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{webhook: {url: 'ftp://x'}}]}}\n", "3:56",
     "expected an http or https address", ""),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{webhook: {url: 'http://h', secret: x}}]}}\n",
     "3:76", "expected secret://env/NAME or secret://file/PATH, got 'x'", ""),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{restart: {service: home}}]}}\n", "3:60",
     "automations.a.do[0].restart.service: expected the name of a service, got 'home'",
     "there is none yet."),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{retrain: {pipeline: r}}]}}\n", "3:61",
     "automations.a.do[0].retrain.pipeline: expected the name of a pipeline, got 'r'", ""),
    (HEAD + "automations: {a: {on: {confidence_drop: home}, do: [{audit: {note: x}}]}}\n", "3:41",
     "automations.a.on.confidence_drop: expected the name of a service, got 'home'", "or `any`."),
    # --- staging; the service stands at line 16
    (SERVICE + "    rollout: {staging: {window: \"01:00-05:00\", timezone: Europe/Berln}}\n", "17:58",
     "rollout.staging.timezone: expected an IANA time zone, got 'Europe/Berln'", "did you mean 'Europe/Berlin'?"),
    (SERVICE + "    rollout: {staging: {timezone: 25}}\n", "17:35", "timezone", ""),
    (SERVICE + "    rollout: {staging: {timezone: Nowhere/At/All}}\n", "17:35", "got 'Nowhere/At/All'", "names are like Europe/Berlin"),
    (SERVICE + "    rollout: {staging: {window: \"01:00-01:00\"}}\n", "17:33", "expected two different times", "`always` is the whole day"),
    (SERVICE + "    rollout: {staging: {window: \"1am-5am\"}}\n", "17:33", 'expected "always" or a daily span', ""),
    (SERVICE + "    rollout: {staging: {budget: {}}}\n", "17:25", "expected p99 or memory, got neither", "leave it out"),
    (SERVICE + "    rollout: {staging: {budget: {p99: -5ms}}}\n", "17:39", "budget.p99", ""),
    (SERVICE + "    rollout: {staging: {budget: {p99: 10m}}}\n", "17:39", "expected at most the deadline, 60 s", "like 150ms"),
    (SERVICE + "    rollout: {staging: {budget: {memory: 0GiB}}}\n", "17:42", "budget.memory", ""),
    (SERVICE + "    rollout: {staging: {budget: {memory: lots}}}\n", "17:42", "budget.memory", ""),
    (SERVICE + "    resources: {memory: 1GiB}\n    rollout: {staging: {budget: {memory: 2GiB}}}\n", "18:42",
     "expected at most resources.memory, 1073741824 bytes, got 2147483648", "dies"),
    (SERVICE + "    rollout: {staging: {load: {rate: 1}}}\n", "17:38", "expected 100 requests within 60 s", "raise `rate`"),
    (SERVICE + "    rollout: {staging: {load: {for: 90s}}}\n", "17:37", "expected at most the deadline", "raise `deadline`"),
    (SERVICE + "    rollout: {staging: {compare: {min_overlap: 1.5}}}\n", "17:48", "min_overlap", ""),
    (SERVICE + "    rollout: {staging: {tests: [robust]}}\n", "17:33", "tests", ""),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{audit: {note: x}, email: {}}]}}\n", "3:66",
     "do[0].email: expected the key 'subject', got an empty mapping", "expected the key 'to'"),
    (HEAD + "automations: {a: {on: {alert: x}, do: []}}\n", "3:39", "automations.a.do: expected", ""),
    (HEAD + "automations: {a: {on: {alert: x}, do: [{audit: x}]}}\n", "3:48", "expected a mapping", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "words", "more"), CASES)
def test_says_where_what_and_what_to_do(text: str, place: str, words: str, more: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text, "films.yaml")
    error = caught.value
    assert error.where == f"films.yaml:{place}"
    assert words in error.what
    assert more in f"{error.what} {error.hint}"
    assert "expected" in error.what
    assert str(error) == f"films.yaml:{place}: {error.what}"


def test_the_first_mistake_is_the_error_and_the_others_are_in_its_hint() -> None:
    text = SERVICE + "    replicas: two\n    clock: wall\n    fallbck: popularity\n"
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text, "films.yaml")
    assert caught.value.where == "films.yaml:17:15"
    assert "2 more: films.yaml:18:12: services.home.clock: expected" in caught.value.hint
    assert "films.yaml:19:5: services.home: expected one of model" in caught.value.hint


def test_aliases_that_multiply_are_refused_before_memory_runs_out() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ManifestError, match="expected at most 20000 values"):
        parse_manifest("\n".join(lines))


def test_a_missing_file_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="expected a manifest file, got nothing") as caught:
        load_manifest(tmp_path / "none.yaml")
    assert caught.value.where == str(tmp_path / "none.yaml")
    assert "-f FILE" in caught.value.hint


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="got a folder") as caught:
        load_manifest(tmp_path)
    assert caught.value.hint == f"try {tmp_path}/mlg.yaml."


def test_a_path_through_a_file_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ManifestError, match="expected a readable file"):
        load_manifest(tmp_path / "file" / "mlg.yaml")


def test_bytes_that_are_no_utf8_have_a_place(tmp_path: Path) -> None:
    (tmp_path / "mlg.yaml").write_bytes(b"version: 1\nproject: caf\xe9\n")
    with pytest.raises(ManifestError, match="expected UTF-8 text, got the byte 0xe9") as caught:
        load_manifest(tmp_path / "mlg.yaml")
    assert caught.value.where == f"{tmp_path}/mlg.yaml:2:13"  # chars before: `project: caf`


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlg.yaml").write_bytes(b"#" * (4 * 2**20 + 1))
    with pytest.raises(ManifestError, match="at most 4 MiB"):
        load_manifest(tmp_path / "mlg.yaml")


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "mlg.yaml").write_bytes(b"")
    with pytest.raises(ManifestError, match="got an empty file"):
        load_manifest(tmp_path / "mlg.yaml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "mlg.yaml").write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert load_manifest(tmp_path / "mlg.yaml").spec.project == "films"
