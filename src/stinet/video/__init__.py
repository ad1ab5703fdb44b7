"""Files to frames and back, at exact times; knows no model."""
