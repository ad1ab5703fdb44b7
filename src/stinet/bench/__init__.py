"""How fast this machine is at this work, in figures that hold on a busy machine: ratios within one run."""
