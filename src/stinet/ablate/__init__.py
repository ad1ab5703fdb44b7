"""The paper's ablations: every row of its tables as a named edit of one training, run, measured and compared.

    rows.py       the tables: rows, their edits, the paper's figures
    plan.py       what an ablation trains by: settings, steps, seeds; kept in its folder
    session.py    row by row: train, evaluate, one JSON a row; resumable, on several devices
    findings.py   deltas to the full model, their spread over seeds, and whether signs agree with the paper
    pages.py      the report: HTML, Markdown, bar charts

All rows see the same crops in the same order, for the same number of steps, and are measured by the same call.
"""
