//! How the page looks, by day and by night.

pub(super) const STYLE: &str = r"
:root { color-scheme: light dark;
  --back: #f6f7f9; --card: #ffffff; --text: #1b2430; --quiet: #5d6b7c; --edge: #dfe4ea; --grid: #e8ecf0;
  --band: #2f6fde12; --c0: #2f6fde; --c1: #d9700f; --c2: #0d9373; --c3: #a24bd0; --c4: #d5304a;
  --good: #0d9373; --bad: #d5304a; --warn: #8a5a00; --warn-back: #fff6df; --warn-edge: #f0d999; }
@media (prefers-color-scheme: dark) { :root {
  --back: #0f141a; --card: #171e26; --text: #e4eaf1; --quiet: #93a1b2; --edge: #28323d; --grid: #232d38;
  --band: #6ea3ff14; --c0: #6ea3ff; --c1: #f5a34f; --c2: #3fcfa8; --c3: #c98bf0; --c4: #ff7286;
  --good: #3fcfa8; --bad: #ff7286; --warn: #f2cf7c; --warn-back: #2b2412; --warn-edge: #54451c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 48px; }
header { margin-bottom: 24px; }
.kind { color: var(--quiet); font-size: 13px; letter-spacing: .04em; text-transform: uppercase; }
h1 { font-size: 27px; line-height: 1.25; margin: 4px 0 10px; font-weight: 650; text-wrap: balance; }
h2 { font-size: 17px; margin: 34px 0 12px; font-weight: 650; }
.facts { color: var(--quiet); margin: 0; overflow-wrap: anywhere; }
.badge { display: inline-block; border: 1px solid var(--warn-edge); background: var(--warn-back); color: var(--warn);
  border-radius: 999px; padding: 2px 12px; font-size: 13px; margin-top: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(138px, 1fr)); gap: 12px; }
.tile, figure, .card { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; }
.tile { padding: 13px 14px; }
.tile b { display: block; font-size: 19px; line-height: 1.35; font-weight: 650; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--quiet); font-size: 13px; line-height: 1.35; }
.tile.bad b { color: var(--bad); } .tile.good b { color: var(--good); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 14px; }
figure { margin: 0; padding: 12px 14px 6px; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 4px 16px; font-weight: 600;
  font-size: 14px; margin-bottom: 4px; }
.legend { display: flex; gap: 14px; font-weight: 400; color: var(--quiet); font-size: 13px; }
.key::before { content: ''; display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px;
  background: var(--c); }
svg { display: block; width: 100%; height: auto; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); } .c4 { --c: var(--c4); }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.area { fill: var(--c); opacity: .14; }
.bar { fill: var(--c); opacity: .55; }
.bar:hover { opacity: .95; }
.grid { stroke: var(--grid); } .band { fill: var(--band); }
.tick { fill: var(--quiet); font-size: 12px; }
.mark { stroke: var(--quiet); stroke-dasharray: 3 3; } .word { fill: var(--text); font-size: 12px; }
.tip { fill: transparent; } .tip:hover { fill: var(--band); }
.card { padding: 4px 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 10px; text-align: right; border-top: 1px solid var(--edge); white-space: nowrap; }
tr:first-child > * { border-top: 0; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; font-weight: 400; }
thead th { color: var(--quiet); font-weight: 500; }
td.wide { text-align: left; white-space: normal; }
.lost { color: var(--bad); } .carried { color: var(--good); }
.mind { border: 1px solid var(--warn-edge); background: var(--warn-back); border-radius: 12px; padding: 12px 18px;
  margin: 24px 0 0; }
.mind ul { margin: 4px 0 0; padding-left: 18px; }
footer { color: var(--quiet); font-size: 13px; margin-top: 34px; }
@media print { body { background: #fff; } .plots { grid-template-columns: 1fr 1fr; } figure { break-inside: avoid; } }
";
