"""What people look at: tables as plain text, curves and pictures as PNG, one page as HTML.

Takes plain values and arrays; knows no model, no clip and no file of ours but a JSONL log. The only room that loads
matplotlib, and only when something is drawn (its bundled DejaVu is the one font).
"""
