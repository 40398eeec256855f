"""The report's style sheet: system fonts, light and dark, readable from phone width up."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --bg: #f6f7f9; --card: #ffffff; --ink: #17202b; --soft: #566170; --line: #dde2e8;
  --int8: #2463c7; --program: #9a5b00; --float: #6b7684; --reference: #17202b;
  --good: #17743a; --good-bg: #e2f4e8; --bad: #b3261e; --bad-bg: #fde7e5;
  --open: #8a5300; --open-bg: #fff0d1;
  --heat: 36, 99, 199; --heat-bad: 200, 60, 40; --heat-good: 30, 140, 70;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #10151b; --card: #19212a; --ink: #e7ecf2; --soft: #9dabba; --line: #2d3843;
    --int8: #74a9ff; --program: #f0b04a; --float: #93a1b0; --reference: #e7ecf2;
    --good: #6fd695; --good-bg: #143322; --bad: #ff8f85; --bad-bg: #431c1a;
    --open: #ffc44d; --open-bg: #40300c;
    --heat: 96, 155, 255; --heat-bad: 255, 110, 90; --heat-good: 80, 210, 130;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--bg); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
section.part, header.top {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 1.1rem 1.25rem; margin: 0 0 1rem; min-width: 0;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: .1rem 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 1.6rem 0 .5rem; }
h3 { font-size: 1.1rem; margin: 0 0 .35rem; }
h4 { font-size: 1rem; margin: 1.1rem 0 .4rem; }
.lead { margin: 0 0 .8rem; }
nav.contents ul { list-style: none; display: flex; flex-wrap: wrap; gap: .4rem; padding: 0; margin: 0; }
nav.contents a {
  display: block; padding: .25rem .8rem; border: 1px solid var(--line); border-radius: 999px;
  background: var(--card); color: var(--int8); text-decoration: none; font-size: .92rem;
}
nav.contents a:hover, nav.contents a:focus-visible { text-decoration: underline; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.soft, .note { color: var(--soft); }
.note { font-size: .875rem; }
.eyebrow { color: var(--soft); font-size: .8rem; letter-spacing: .06em; text-transform: uppercase; }
.badge {
  display: inline-block; border-radius: 999px; padding: .2rem .8rem; font-weight: 650;
  border: 1px solid currentColor;
}
.pass { color: var(--good); } .fail { color: var(--bad); } .undecided { color: var(--open); }
.badge.pass { background: var(--good-bg); } .badge.fail { background: var(--bad-bg); }
.badge.undecided { background: var(--open-bg); }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem;
  margin-top: 1rem;
}
.tile { border: 1px solid var(--line); border-radius: 10px; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
ul.gates { list-style: none; margin: .4rem 0 0; padding: 0; }
ul.gates li { padding: .3rem 0; border-top: 1px solid var(--line); display: flex; gap: .6rem; }
ul.gates li:first-child { border-top: 0; }
ul.gates b { flex: none; width: 3rem; } ul.gates b.undecided { width: 5.4rem; }
ul.gates span { min-width: 0; overflow-wrap: anywhere; }
dd { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .4rem -.2rem; padding: 0 .2rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
table.wide { width: 100%; }
th, td { padding: .4rem .65rem; border-bottom: 1px solid var(--line); text-align: right; }
th { font-weight: 600; white-space: nowrap; }
thead th { color: var(--soft); font-size: .82rem; vertical-align: bottom; }
th:first-child, .text { text-align: left; }
tr > :first-child { position: sticky; left: 0; background: var(--card); z-index: 1; }
table.wide td { white-space: nowrap; }
table.wide td.text, table.wide td.pass, table.wide td.fail { white-space: normal; min-width: 9rem; }
tbody tr:last-child > * { border-bottom: 0; }
td small, th small { color: var(--soft); font-weight: 400; display: block; }
table.matrix td, table.matrix th + th { text-align: center; }
table.matrix td { min-width: 3.7rem; border: 2px solid var(--card); }
td[style] small { color: inherit; }
table.matrix td.self { color: var(--soft); }
.dot {
  display: inline-block; width: .65em; height: .65em; border-radius: 50%; margin-right: .45em;
  background: var(--role);
}
.int8 { --role: var(--int8); } .program { --role: var(--program); }
.float { --role: var(--float); } .reference { --role: var(--reference); }
.forest { margin: .6rem 0 .2rem; }
.forest .row {
  display: grid; grid-template-columns: 11rem 1fr 10.5rem; gap: .2rem 1rem; align-items: center;
}
.forest .value { text-align: right; font-variant-numeric: tabular-nums; font-size: .9rem; }
.forest svg { display: block; width: 100%; height: 30px; overflow: visible; }
.forest svg.axis { height: 22px; }
.forest text { fill: var(--soft); font-size: 12px; text-anchor: middle; }
.axis-title { color: var(--soft); font-size: .8rem; text-align: center; }
.forest .grid { stroke: var(--line); stroke-width: 1; }
.forest .zero { stroke: var(--soft); stroke-width: 1.5; }
.forest .gate { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
.forest .bar { stroke: var(--role); stroke-width: 3; stroke-linecap: round; opacity: .6; }
.forest circle { fill: var(--role); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .8rem; }
.card { border: 1px solid var(--line); border-radius: 10px; overflow: hidden; font-size: .88rem; }
.card .picture { display: flex; gap: .8rem; padding: .7rem .8rem .2rem; }
.card .picture > div { min-width: 0; overflow-wrap: anywhere; }
.card img, .card .none {
  width: 96px; height: 96px; border-radius: 8px; flex: none; background: var(--line);
  object-fit: cover;
}
.card .none { display: grid; place-items: center; color: var(--soft); font-size: .75rem; }
.card ul { list-style: none; margin: 0; padding: .3rem .8rem .7rem; }
.card li { display: flex; justify-content: space-between; gap: .6rem; padding: .12rem 0; }
.card li span:last-child { text-align: right; overflow-wrap: anywhere; }
details { margin: .6rem 0 0; } summary { cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
details pre {
  overflow-x: auto; font-size: .8rem; background: var(--bg); padding: .7rem; border-radius: 8px;
}
footer { color: var(--soft); font-size: .85rem; padding: 0 .3rem; }
@media (max-width: 40rem) {
  main { padding: .75rem .6rem 2rem; } section.part, header.top { padding: .9rem; }
  .forest .row { grid-template-columns: 1fr auto; margin-bottom: .5rem; }
  .forest .plot { grid-column: 1 / -1; grid-row: 2; }
  .forest .axis-row > :not(.plot) { display: none; } .cards { grid-template-columns: 1fr; }
  th { white-space: normal; } tr > :first-child { min-width: 8.5rem; max-width: 9.5rem; overflow-wrap: anywhere; }
}
@media print {
  section.part, .card, tr { break-inside: avoid; } body { background: none; }
  nav.contents { display: none; } .scroll { overflow: visible; }
}
"""
