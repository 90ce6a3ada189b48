"""What the dashboards are put together from: panels, variables, and the look that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    piechart,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import piechart as pies
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WATTS, KWH, JOULES, SECONDS, BYTES, RATIO, GRAMS, COUNT, PER_SECOND, HERTZ, PLAIN = (
    *("watt", "kwatth", "joule", "s", "bytes", "percentunit", "massg", "short", "cps", "hertz", "none"),
)
Query = tuple[str, str]
"""An expression and its legend."""


def _queries(panel: Any, queries: Sequence[Query], instant: bool = False, shape: PromQueryFormat | None = None) -> Any:
    for letter, (expression, legend) in zip("ABCDEFGH", queries):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend).datasource(DATASOURCE)
        query = query.instant() if instant else query.range()
        panel = panel.with_target(query.format(shape) if shape else query)
    return panel


def _frame(panel: Any, title: str, about: str, unit: str, width: int, height: int) -> Any:
    panel = panel.title(title).description(about).datasource(DATASOURCE).span(width).height(height)
    return panel.unit(unit) if unit else panel


def _latest() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def number(title: str, about: str, unit: str, query: str, width: int = 4, decimals: int | None = None) -> Any:
    """One figure of now (or of the time range, where the query says so)."""
    panel = _queries(_frame(stat.Panel(), title, about, unit, width, 4), [(query, title)], instant=True)
    panel = panel.graph_mode(shapes.BigValueGraphMode.NONE).color_mode(shapes.BigValueColorMode.NONE)
    panel = panel.reduce_options(_latest())
    return panel.decimals(decimals) if decimals is not None else panel


def lines(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    width: int = 12,
    height: int = 9,
    top: float | None = None,
) -> Any:
    """Figures over time; stacked where they are parts of a whole."""
    panel = _queries(_frame(timeseries.Panel(), title, about, unit, width, height), queries)
    panel = panel.min(0).line_width(1).fill_opacity(40 if stacked else 8).show_points(shapes.VisibilityMode.NEVER)
    legend = common.VizLegendOptions().show_legend(True).display_mode(shapes.LegendDisplayMode.TABLE)
    legend = legend.placement(shapes.LegendPlacement.BOTTOM).calcs(["mean", "max", "lastNotNull"])
    panel = panel.legend(legend)
    hover = common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    panel = panel.tooltip(hover)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    return panel.max(top) if top is not None else panel


def bars(title: str, about: str, unit: str, query: Query, width: int = 12, height: int = 9) -> Any:
    """A ranking of now."""
    panel = _queries(_frame(bargauge.Panel(), title, about, unit, width, height), [query], instant=True)
    panel = panel.orientation(shapes.VizOrientation.HORIZONTAL).display_mode(shapes.BarGaugeDisplayMode.BASIC).min(0)
    panel = panel.reduce_options(_latest())
    colour = dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color("blue")
    return panel.color_scheme(colour)


def pie(title: str, about: str, unit: str, *queries: Query, width: int = 12, height: int = 9) -> Any:
    """Parts of one whole."""
    panel = _queries(_frame(piechart.Panel(), title, about, unit, width, height), queries, instant=True)
    legend = piechart.PieChartLegendOptions().show_legend(True).display_mode(shapes.LegendDisplayMode.TABLE)
    legend = legend.placement(shapes.LegendPlacement.RIGHT)
    legend = legend.values([pies.PieChartLegendValues.VALUE, pies.PieChartLegendValues.PERCENT])
    return panel.pie_type(pies.PieChartType.DONUT).legend(legend).reduce_options(_latest())


def heat(
    title: str, about: str, unit: str, query: Query, width: int = 12, height: int = 9, buckets: bool = False
) -> Any:
    """A distribution over time: of several series, or of a histogram's buckets."""
    panel = _queries(
        _frame(heatmap.Panel(), title, about, "", width, height),
        [query],
        shape=PromQueryFormat.HEATMAP if buckets else PromQueryFormat.TIME_SERIES,
    )
    colours = heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return panel.calculate(not buckets).color(colours).y_axis(heatmap.YAxisConfig().unit(unit)).show_legend()


def rows(
    title: str,
    about: str,
    columns: Sequence[tuple[str, str, str]],
    hidden: Sequence[str],
    width: int = 24,
    height: int = 8,
) -> Any:
    """A table: one row per set of labels; ``columns`` are (name, unit, query); ``hidden`` labels are left out."""
    panel = _queries(
        _frame(table.Panel(), title, about, "", width, height),
        [(query, name) for name, _, query in columns],
        instant=True,
        shape=PromQueryFormat.TABLE,
    )
    panel = panel.show_header(True)
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    letters = [f"Value #{letter}" if len(columns) > 1 else "Value" for letter in "ABCDEFGH"]
    organise = {
        "excludeByName": dict.fromkeys(("Time", "__name__", "job", *hidden), True),
        "renameByName": {letter: name for letter, (name, _, _) in zip(letters, columns)},
        "indexByName": {},
    }
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=organise))
    for name, unit, _ in columns:
        panel = panel.override_by_name(name, [models.DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def variable(name: str, label: str, query: str, *, many: bool = True) -> Any:
    """A filter whose choices are a label's values."""
    made = dashboard.QueryVariable(name).label(label).datasource(DATASOURCE)
    made = made.query({"query": query, "refId": name}).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made = made.sort(models.VariableSort.ALPHABETICAL_ASC)
    if not many:
        return made
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return made.multi(True).include_all(True).all_value(".*").current(everything)


NODES = variable("node", "Node", "label_values(kepler_node_info, node)")
NAMESPACES = variable("namespace", "Namespace", 'label_values(kepler_container_joules_total{node=~"$node"}, namespace)')
PODS = variable("pod", "Pod", 'label_values(kepler_container_joules_total{node=~"$node",namespace=~"$namespace"}, pod)')


def make(uid: str, title: str, about: str, variables: Sequence[Any], panels: Sequence[Any]) -> models.Dashboard:
    """A dashboard; panels are placed from left to right, and below each other where the width is used up."""
    made = dashboard.Dashboard(title).uid(uid).description(about).tags(["kepler-ebpf", "energy"]).editable()
    made = made.time("now-1h", "now").refresh("30s").tooltip(models.DashboardCursorSync.CROSSHAIR).timezone("browser")
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for filter_ in variables:
        made = made.with_variable(filter_)
    others = dashboard.DashboardLink("Energy dashboards").type(models.DashboardLinkType.DASHBOARDS)
    made = made.link(others.tags(["kepler-ebpf"]).as_dropdown(True).keep_time(True).include_vars(True))
    for number_, panel in enumerate(panels, 1):
        made = made.with_panel(panel.id(number_))
    return made.build()
