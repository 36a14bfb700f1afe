"""Published run lengths, and what the engine says of the same charts.

Read by `mlg bench monitors` and by tests/unit/stats/test_published.py. The numbers of Lucas and
Crosier, Crowder, Vance, Waldmann, Champ and Woodall, Crosier, Rigdon, Gan and SAS/QC are as
quoted in the manual of the R package spc (S. Knoth); those of Prabhu and Runger and of Lucas and
Saccucci for lam .05 to .4 as in tables of Montgomery, Introduction to Statistical Quality Control,
written down from memory, not looked up again. A value is compared as it is printed: half a unit
of its last digit is never held against anyone.

    PYTHONPATH=src python benchmarks/monitors_published.py
"""

from dataclasses import dataclass
from typing import Any

from mlg.stats.arl import Spec, law
from mlg.stats.arl_rules import WESTERN_ELECTRIC, rules_from

WITHIN = 0.005


@dataclass(frozen=True)
class Published:
    """One table: a chart, and a printed run length by shift."""

    source: str
    chart: dict[str, Any]
    printed: dict[float, str]
    state: str = "zero"
    within: float = WITHIN
    """Part by which the publication itself may be off; more than 0.005 has its reason in `why`."""
    why: str = ""
    quantile: float | None = None
    """The printed numbers are this quantile, not the mean."""

    def compared(self) -> list[dict[str, Any]]:
        """Return a row a value: what is printed, what the engine says, how far apart."""
        rows = []
        for shift, printed in self.printed.items():
            run = law(Spec(**self.chart), shift=shift, state=self.state)  # type: ignore[arg-type]
            ours = run.mean if self.quantile is None else run.quantile(self.quantile)
            value = float(printed)
            # a digit in the middle between two neighbours is rounded either way
            digits = len(printed.partition(".")[2]) if "." in printed.rstrip(".") else 0
            rounding = 0.5 * 10**-digits
            apart = max(abs(ours - value) - rounding, 0.0) / value
            rows.append(
                {
                    "source": self.source,
                    "chart": words(self.chart),
                    "state": self.state,
                    "shift": shift,
                    "published": printed,
                    "ours": ours,
                    "apart_ratio": abs(ours / value - 1),
                    "beyond_print_ratio": apart,
                    "holds": apart <= self.within,
                    "why": self.why,
                }
            )
        return rows


def words(chart: dict[str, Any]) -> str:
    """Return a chart as one reads it."""
    told = [str(chart["chart"])]
    for key, value in chart.items():
        if key == "rules":
            told.append(",".join(f"{rule.hits}/{rule.span}:{rule.above:g}" for rule in value))
        elif key != "chart":
            told.append(f"{key} {value:.5g}" if not isinstance(value, bool) else "two-sided")
    return " ".join(told)


def two_ewma(lam: float, limit: float, **more: Any) -> dict[str, Any]:
    return {"chart": "ewma", "lam": lam, "limit": limit, "two_sided": True, **more}


def cusum(k: float, h: float, *, two: bool = False, **more: Any) -> dict[str, Any]:
    return {"chart": "cusum", "k": k, "h": h, **({"two_sided": True} if two else {}), **more}


def ladder(shifts: str, values: str) -> dict[float, str]:
    """Return printed values by shift, from two lines of a table."""
    pairs = zip(shifts.split(), values.split(), strict=True)
    return {float(shift): value for shift, value in pairs}


LS = "Lucas & Saccucci 1990, table 3"
LS_SHIFTS = "0 .25 .5 .75 1 1.5 2 2.5 3 3.5 4 5"
LS_SHORT = "0 .25 .5 .75 1 1.5 2 2.5 3 4"
LC = "Lucas & Crosier 1982, table 1"
LC_SHIFTS = "0 .25 .5 .75 1 1.5 2 2.5 3 4 5"
CW = "Champ & Woodall 1987, table 1"
CW_SHIFTS = "0 .2 .4 .6 .8 1 1.2 1.4 1.6 1.8 2 2.2 2.4 2.6 2.8 3"
QUARTERS = "0 .25 .5 .75 1 1.25 1.5 1.75 2 2.25 2.5 2.75 3 3.25 3.5 3.75 4"
PR = "Prabhu & Runger 1997 (Montgomery, table 11.3)"
PR_SHIFTS = "0 .5 1 1.5 2 3"
CHAIN = "printed from a coarse Markov chain; simulation agrees with ours"


def runs(rules: str) -> dict[str, Any]:
    return {"chart": "runs", "rules": rules_from(rules), "two_sided": True}


PUBLISHED = (
    Published(LS, two_ewma(0.5, 3.071), ladder(LS_SHIFTS,
        "500 255 88.8 35.9 17.5 6.53 3.63 2.50 1.93 1.58 1.34 1.07")),
    Published(LS, two_ewma(0.03, 2.437), ladder(LS_SHIFTS,
        "500 76.7 29.3 17.6 12.6 8.07 5.99 4.80 4.03 3.49 3.11 2.55")),
    Published(LS, two_ewma(0.4, 3.054), ladder(LS_SHORT,
        "500 224 71.2 28.4 14.3 5.9 3.5 2.5 2.0 1.4")),
    Published(LS, two_ewma(0.25, 2.998), ladder(LS_SHORT,
        "500 170 48.2 20.1 11.1 5.5 3.6 2.7 2.3 1.7")),
    Published(LS, two_ewma(0.2, 2.962), ladder(LS_SHORT,
        "500 150 41.8 18.2 10.5 5.5 3.7 2.9 2.4 1.9")),
    Published(LS, two_ewma(0.1, 2.814), ladder(LS_SHORT,
        "500 106 31.3 15.9 10.3 6.1 4.4 3.4 2.9 2.2")),
    Published(LS, two_ewma(0.05, 2.615), ladder(LS_SHORT,
        "500 84.1 28.8 16.4 11.4 7.1 5.2 4.2 3.5 2.7")),
    Published(f"{LS} (cyclical steady state)", two_ewma(0.5, 3.071), ladder(LS_SHIFTS,
        "499 254 88.4 35.7 17.3 6.44 3.58 2.47 1.91 1.58 1.36 1.10"), state="cyclical"),
    Published(f"{LS} (cyclical steady state)", two_ewma(0.03, 2.437), ladder(LS_SHIFTS,
        "480 74.1 28.6 17.3 12.5 8.00 5.95 4.78 4.02 3.49 3.09 2.55"), state="cyclical"),
    Published("Lucas & Saccucci 1990, table 5 (head start)",
        two_ewma(0.5, 3.071, head_start=3.071 / 2),
        ladder("0 .5 1 2 3 5", "487 86.1 15.9 2.87 1.45 1.01"), within=0.015, why=CHAIN),
    Published("Lucas & Saccucci 1990, table 5 (head start)",
        two_ewma(0.03, 2.437, head_start=2.437 / 2),
        ladder("0 .5 1 2 3 5", "406 18.4 7.36 3.43 2.34 1.57")),
    Published("Crowder 1987, table 1", two_ewma(0.5, 2.0), {
        shift: value for shift, value in ladder(QUARTERS,
        "26.45 20.12 11.89 7.29 4.91 3.95 2.80 2.29 1.94 1.70 1.51 1.37 1.26 1.18 1.12 1.08 "
        "1.05").items() if shift != 1.25  # a misprint of 3.59, says the manual of spc
        }),
    Published("Crowder 1987, table 1", two_ewma(0.05, 2.0), ladder(QUARTERS,
        "127.53 43.94 18.97 11.64 8.38 6.56 5.41 4.62 4.04 3.61 3.26 2.99 2.76 2.56 2.39 2.26 "
        "2.15")),
    Published("Waldmann 1986, table 1", two_ewma(0.75, 2 * (1.25 / 0.75) ** 0.5), {0: "104.0"}),
    Published("Waldmann 1986, table 1", two_ewma(0.5, 2 * 3**0.5), {0: "1952"}),
    Published("Waldmann 1986, table 2", {"chart": "ewma", "lam": 0.75,
        "limit": 2 * (1.25 / 0.75) ** 0.5, "reflect": -4 * (1.25 / 0.75) ** 0.5}, {0: "209.3"}),
    Published("Waldmann 1986, table 2", {"chart": "ewma", "lam": 0.5, "limit": 2 * 3**0.5,
        "reflect": -4 * 3**0.5}, {0: "3907.5"}),
    Published("SAS/QC manual", two_ewma(0.25, 3.0), {1: "11.154267016"}),
    Published(LC, cusum(0.5, 4, two=True), ladder(LC_SHIFTS,
        "168 74.2 26.6 13.3 8.38 4.75 3.34 2.62 2.19 1.71 1.31")),
    Published(f"{LC} (head start 2)", cusum(0.5, 4, two=True, head_start=2.0), ladder(LC_SHIFTS,
        "149 62.7 20.1 8.97 5.29 2.86 2.01 1.59 1.32 1.07 1.01")),
    Published("Crosier 1986, table 5 (cyclical steady state)", cusum(0.5, 4, two=True),
        ladder(LC_SHIFTS, "163 71.6 25.2 12.3 7.68 4.31 3.03 2.38 2.00 1.55 1.22"),
        state="cyclical", within=0.0075, why=CHAIN),
    Published("Brook & Evans 1972", cusum(0.5, 3), {0: "117.59", 1.5: "3.75"}),
    Published("Vance 1986, table 1", cusum(0.0, 10), ladder(
        "-.25 -.125 0 .125 .25 .5 .75 1",
        "2071.51 400.28 124.66 59.30 36.71 20.37 14.06 10.75")),
    Published("Waldmann 1986 (CUSUM)", cusum(0.5, 3), {-0.5: "1963", 0: "117.4", 0.5: "17.35"}),
    Published("Waldmann 1986 (CUSUM)", cusum(0.6, 3, two=True), {-0.2: "65.4"}),
    Published("Waldmann 1986 (CUSUM, 95 % quantile)", cusum(0.5, 3), {0: "345"}, quantile=0.95),
    Published("Waldmann 1986 (CUSUM, median)", cusum(0.5, 3), {0: "82"}, quantile=0.5),
    Published("Waldmann 1986 (CUSUM, 5 % quantile)", cusum(0.5, 3), {0: "9"}, quantile=0.05),
    Published("SAS/QC manual", cusum(0.25, 8), {2.5: "4.1500836225"}),
    Published("SAS/QC manual", cusum(0.25, 8, head_start=0.1), {2.5: "4.1061588131"}),
    Published("SAS/QC manual", cusum(0.25, 8, two=True), {2.5: "4.1500826715"}),
    Published(CW, runs("1/1:3"), ladder(CW_SHIFTS, "370.40 308.43 200.08 119.67 71.55 43.89 "
        "27.82 18.25 12.38 8.69 6.30 4.72 3.65 2.90 2.38 2.00")),
    Published(CW, runs("1/1:3,2/3:2"), ladder(CW_SHIFTS, "225.44 177.56 104.46 57.92 33.12 "
        "20.01 12.81 8.69 6.21 4.66 3.65 2.96 2.48 2.13 1.87 1.68")),
    Published(CW, runs("1/1:3,4/5:1"), ladder(CW_SHIFTS, "166.05 120.70 63.88 33.99 19.78 "
        "12.66 8.84 6.62 5.24 4.33 3.68 3.18 2.78 2.43 2.14 1.89")),
    Published(CW, runs("1/1:3,8/8:0"), ladder(CW_SHIFTS, "152.73 110.52 59.76 33.64 21.07 "
        "14.58 10.90 8.60 7.03 5.85 4.89 4.08 3.38 2.81 2.35 1.99")),
    Published("Champ & Woodall 1987 (all four rules)",
        {"chart": "runs", "rules": WESTERN_ELECTRIC, "two_sided": True}, {0: "91.75"}),
    Published("Rigdon 1995a", {"chart": "mewma", "lam": 0.25, "limit": 16.38, "dims": 4},
        {0: "500"}),
    Published("Rigdon 1995b, table 1", {"chart": "mewma", "lam": 0.1, "limit": 12.73, "dims": 4},
        {0: "200"}),
    Published("Rigdon 1995b, table 1", {"chart": "mewma", "lam": 0.1, "limit": 14.56, "dims": 5},
        {1: "12.9"}),
    *(
        Published(PR, {"chart": "mewma", "lam": lam, "limit": limit, "dims": dims},
            ladder(PR_SHIFTS, values), within=within, why=CHAIN if within > WITHIN else "")
        for dims, lam, limit, values, within in (
            (2, 0.05, 7.35, "199.93 26.61 11.23 7.14 5.28 3.56", WITHIN),
            (2, 0.1, 8.64, "199.98 28.07 10.15 6.11 4.42 2.93", WITHIN),
            (2, 0.2, 9.65, "199.91 35.17 10.20 5.49 3.78 2.42", WITHIN),
            (2, 0.4, 10.31, "200.04 53.82 13.26 5.78 3.53 2.05", 0.01),
            (2, 0.8, 10.58, "199.43 95.88 28.65 10.28 4.79 1.91", 0.015),
            (4, 0.1, 12.73, "200.12 35.11 12.17 7.22 5.19 3.41", WITHIN),
        )
    ),
)  # fmt: skip


def compared() -> list[dict[str, Any]]:
    """Return every published value beside ours."""
    return [row for table in PUBLISHED for row in table.compared()]


def main() -> None:
    """Print the tables as the page docs/charts.md shows them."""
    rows = compared()
    worst: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        worst.setdefault((row["source"], row["chart"]), []).append(row)
    print("| published | chart | values | farthest | print apart | holds |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- |")  # noqa: T201
    for (source, chart), group in worst.items():
        far = max(group, key=lambda row: row["beyond_print_ratio"])
        print(  # noqa: T201
            f"| {source} | {chart} | {len(group)} | {far['published']} at shift "
            f"{far['shift']:g}, ours {far['ours']:.5g} | {100 * far['beyond_print_ratio']:.2f} % | "
            f"{'yes' if all(row['holds'] for row in group) else 'no'}"
            f"{': ' + far['why'] if far['why'] else ''} |"
        )
    print(f"\n{sum(row['holds'] for row in rows)} of {len(rows)} hold")  # noqa: T201


if __name__ == "__main__":
    main()
