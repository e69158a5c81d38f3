"""The pages that a run and a sweep leave, and the same plots as files.

A plot is described once, as a Plotly figure: the page hands it to Plotly in the browser, and
`static` draws it again with Matplotlib for PNG and SVG.
"""
