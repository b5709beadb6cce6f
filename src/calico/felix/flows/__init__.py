"""Flow logs: which connections policy decided about, how, and what went over them (docs/design/flow-logs.md)."""
