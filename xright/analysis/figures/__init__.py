"""Each figure described once as a `chart`; `printed` draws it with matplotlib, `on_screen` with plotly."""
