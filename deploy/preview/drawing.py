"""Pictures of the dashboards with data, without Grafana: layout, units, legends and queries as the JSON has them.

A likeness; Grafana's own drawing differs in detail. Needs the extra ``study``.
"""

from __future__ import annotations

import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

DASHBOARDS = Path(__file__).parents[1] / "grafana/dashboards"
_CELL_INCHES = (0.68, 0.42)
_COLOURS = plt.get_cmap("tab20")([n % 20 for n in (*range(0, 20, 2), *range(1, 20, 2))])
Panel = dict[str, Any]
Series = tuple[str, "np.ndarray[Any, np.dtype[np.float64]]"]


def human(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as Grafana would write it, in its unit."""
    if not math.isfinite(value):
        return str(value)
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes" and not value:
        return "0 B"
    if unit == "kwatth":
        value, unit = value * 1000, "watth"
    symbol = {
        "watt": "W",
        "watth": "Wh",
        "joule": "J",
        "s": "s",
        "bytes": "iB",
        "massg": "g",
        "cps": "c/s",
        "hertz": "Hz",
    }.get(unit, "")
    step = 1024 if unit == "bytes" else 1000
    scales = ("p", "n", "µ", "m", "", "k", "M", "G", "T") if symbol else ("",) * 9
    if unit == "short":
        scales = ("", "", "", "", "", " K", " Mil", " Bil", " Tri")
    power = 0
    if value and any(scales):
        power = math.floor(math.log(abs(value), step) + 1e-9)
        power = max(min(power, 4), -4 if symbol and unit != "bytes" else 0)
    text = f"{value / step**power:.{decimals}f}" if decimals is not None and not power else f"{value / step**power:.3g}"
    scale = scales[4 + power].upper() if unit == "bytes" else scales[4 + power]
    return f"{text} {scale}{symbol}".replace("  ", " ").replace(" B", " B").strip()


def _inches(axes: Axes) -> float:
    """Height of the whole picture."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(figure.get_figheight())


class Server:
    """Queries of one time range, with the dashboards' variables filled in."""

    def __init__(self, address: str, seconds: int) -> None:
        self.address = address.rstrip("/")
        self.end, self.seconds, self.step = time.time(), seconds, max(seconds // 120, 1)
        nodes = sorted(series["metric"]["node"] for series in self.ask("query", "kepler_node_info"))
        if not nodes:
            raise SystemExit(f"{self.address} knows no kepler_node_info: has it scraped a collector?")
        self.first_node = nodes[0]

    def ask(self, kind: str, expression: str, one_node: bool = False) -> list[dict[str, Any]]:
        text = expression.replace("$__rate_interval", f"{max(4 * self.step, 10)}s")
        text = text.replace("$__range", f"{self.seconds}s")
        text = text.replace("$node", self.first_node) if one_node else text
        text = re.sub(r"\$(node|namespace|pod)\b", ".*", text)
        parameters: dict[str, Any] = {"query": text, "time": self.end}
        if kind == "query_range":
            parameters |= {"start": self.end - self.seconds, "end": self.end, "step": self.step}
        with urllib.request.urlopen(f"{self.address}/api/v1/{kind}?{urllib.parse.urlencode(parameters)}") as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def legend(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), text).strip("/") or "value"


class Drawing:
    """One dashboard's panels."""

    def __init__(self, server: Server, one_node: bool) -> None:
        self.server, self.one_node = server, one_node
        self.times = server.end - server.seconds + np.arange(0, server.seconds + 1, server.step)

    def now(self, panel: Panel) -> list[tuple[str, float]]:
        return [
            (legend(target["legendFormat"], series["metric"]), float(series["value"][1]))
            for target in panel["targets"]
            for series in self.server.ask("query", target["expr"], self.one_node)
        ]

    def history(self, panel: Panel) -> list[Series]:
        found = []
        for target in panel["targets"]:
            for series in self.server.ask("query_range", target["expr"], self.one_node):
                values = np.full(len(self.times), np.nan)
                for at, value in series["values"]:
                    values[round((at - self.times[0]) / self.server.step)] = float(value)
                found.append((legend(target["legendFormat"], series["metric"]), values))
        return found

    @staticmethod
    def lift(axes: Axes, inches: float) -> None:
        """Make room below for a legend."""
        box, part = axes.get_position(), inches / _inches(axes)
        axes.set_position((box.x0, box.y0 + part, box.width, box.height - part))

    def stat(self, axes: Axes, panel: Panel, unit: str) -> None:
        values = self.now(panel)
        decimals = panel["fieldConfig"]["defaults"].get("decimals")
        text = human(values[0][1], unit, decimals) if values else "No data"
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=20)
        axes.set_axis_off()

    def timeseries(self, axes: Axes, panel: Panel, unit: str) -> None:
        series = self.history(panel)
        clock = self.times - self.times[-1]
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        if custom.get("stacking", {}).get("mode") == "normal" and series:
            axes.stackplot(clock, [np.nan_to_num(v) for _, v in series], colors=_COLOURS, alpha=0.6)
        else:
            for colour, (_, values) in zip(_COLOURS, series):
                axes.plot(clock, values, color=colour, lw=1)
        shown = sorted(zip(_COLOURS, series), key=lambda pair: -np.nansum(pair[1][1]))[:8]
        axes.set_xlim(clock[0], 0)
        axes.set_ylim(0, panel["fieldConfig"]["defaults"].get("max"))
        if not any(np.nansum(values) for _, values in series):
            axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: human(value, unit)))
        if unit == "bytes" and (top := axes.get_ylim()[1]) > 1:
            axes.yaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(top / 6))))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
        axes.grid(alpha=0.25)
        if series:
            columns = 2 if len(shown) > 4 and max(len(name) for _, (name, _) in shown) < 25 else 1
            shown = shown if columns > 1 else shown[:6]
            for colour, (name, values) in shown:
                known = values[~np.isnan(values)]
                figures = (human(f, unit) for f in (known.mean(), known.max(), known[-1])) if known.size else ()
                axes.plot([], [], color=colour, lw=3, label=f"{name[:50]}   {' · '.join(figures)}")
            rows = math.ceil(len(shown) / columns)
            self.lift(axes, 0.45 + 0.165 * rows)
            below = -0.2 / (axes.get_position().height * _inches(axes))
            drawn = axes.legend(
                title="name   mean · max · last",
                title_fontsize=7.5,
                loc="upper center",
                bbox_to_anchor=(0.5, below),
                fontsize=8,
                labelspacing=0.25,
                frameon=False,
                ncols=columns,
            )
            drawn.get_title().set_color("gray")
        else:
            axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center")

    def bargauge(self, axes: Axes, panel: Panel, unit: str) -> None:
        values = sorted(self.now(panel), key=lambda pair: pair[1])
        bars = axes.barh([name for name, _ in values], [value for _, value in values], color=_COLOURS[0])
        axes.bar_label(bars, [human(value, unit) for _, value in values], padding=3, fontsize=8)
        axes.margins(x=0.15)
        axes.set_xticks([])

    def piechart(self, axes: Axes, panel: Panel, unit: str) -> None:
        values = self.now(panel)
        whole = sum(value for _, value in values) or 1
        wedges = axes.pie([value for _, value in values], radius=1, wedgeprops={"width": 0.4}, colors=_COLOURS)[0]
        names = [f"{name}   {human(value, unit)}   {value / whole:.0%}" for name, value in values]
        axes.set_anchor("W")  # the rest of the width is the legend's
        axes.legend(wedges, names, loc="center left", bbox_to_anchor=(1.05, 0.5), fontsize=9, frameon=False)

    def heatmap(self, axes: Axes, panel: Panel, _: str) -> None:
        unit, series = panel["options"]["yAxis"]["unit"], self.history(panel)
        if panel["options"]["calculate"]:
            values = np.vstack([v for _, v in series])
            edges = MaxNLocator(15).tick_values(0, np.nanmax(values[np.isfinite(values)]))
            counts = np.array([np.histogram(column[np.isfinite(column)], edges)[0] for column in values.T]).T
            names = [human(edge, unit) for edge in edges]
        else:
            series.sort(key=lambda pair: float(pair[0].replace("+Inf", "inf")))
            counts = np.diff(np.vstack([np.zeros(len(self.times)), *(np.nan_to_num(v) for _, v in series)]), axis=0)
            names = ["0", *(human(float(name.replace("+Inf", "inf")), unit) for name, _ in series)]
        axes.imshow(counts, aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
        axes.set_yticks(np.arange(len(names)) - 0.5, names)
        axes.set_xticks([])

    def table(self, axes: Axes, panel: Panel, _: str) -> None:
        *_, organise = panel["transformations"]
        hidden = {name for name, there in organise["options"]["excludeByName"].items() if there}
        units = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
        names = list(organise["options"]["renameByName"].values())
        lines: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        for name, target in zip(names, panel["targets"]):
            for series in self.server.ask("query", target["expr"], self.one_node):
                labels = {key: value for key, value in sorted(series["metric"].items()) if key not in hidden}
                line = lines.setdefault(tuple(labels.items()), dict(labels))
                if "Value" not in hidden:
                    line[name] = human(float(series["value"][1]), units[name])
        columns = list(dict.fromkeys(name for line in lines.values() for name in line))
        if len(lines) == 1 and len(columns) > 5:  # a single wide row is read better upright
            (line,) = lines.values()
            cells, columns = [[key, value[:60]] for key, value in line.items()], ["", ""]
        else:
            cells = [[line.get(column, "") for column in columns] for line in list(lines.values())[:10]]
        if cells:
            drawn = axes.table(cells, colLabels=columns, loc="upper center", cellLoc="left", edges="horizontal")
            drawn.auto_set_font_size(False)
            drawn.set_fontsize(8)
            drawn.scale(1, 1.25)
        axes.set_axis_off()


def draw(server: Server, path: Path, picture: Path) -> None:
    """Draw the dashboard of one JSON file."""
    dashboard = json.loads(path.read_text())
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    width, height = 24 * _CELL_INCHES[0], rows * _CELL_INCHES[1] + 0.5
    figure = plt.figure(figsize=(width, height), facecolor="#f4f5f5")
    figure.suptitle(dashboard["title"], x=0.01, y=1 - 0.12 / height, ha="left", fontsize=13)
    drawing = Drawing(server, one_node=path.stem == "node")
    kinds: dict[str, Callable[[Axes, Panel, str], None]] = {
        kind: getattr(drawing, kind) for kind in ("stat", "timeseries", "bargauge", "piechart", "heatmap", "table")
    }
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, w = place["x"] * _CELL_INCHES[0] + 0.12, place["w"] * _CELL_INCHES[0] - 0.24
        top, h = 0.5 + place["y"] * _CELL_INCHES[1], place["h"] * _CELL_INCHES[1] - 0.1
        figure.add_artist(
            plt.Rectangle(
                (left / width - 0.003, 1 - (top + h) / height),
                w / width + 0.006,
                h / height,
                facecolor="white",
                edgecolor="#d8d9da",
                zorder=-1,
            )
        )
        figure.text(left / width, 1 - (top + 0.22) / height, panel["title"], fontsize=9, weight="bold")
        indent = 0 if panel["type"] in ("stat", "table", "piechart") else 1.6 if panel["type"] == "bargauge" else 0.7
        box = (left + indent, height - top - h * 0.9, w - indent - 0.1, h * 0.9 - 0.35)
        axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        kinds[panel["type"]](axes, panel, panel["fieldConfig"]["defaults"].get("unit", ""))
    figure.savefig(picture, dpi=80)
    plt.close(figure)


def draw_all(address: str, folder: Path, seconds: int) -> list[Path]:
    """Draw every dashboard into ``folder``, from the last ``seconds`` of a Prometheus. Returns the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    server, pictures = Server(address, seconds), []
    for path in sorted(DASHBOARDS.glob("*.json")):
        pictures.append(folder / f"{path.stem}.png")
        draw(server, path, pictures[-1])
    return pictures
