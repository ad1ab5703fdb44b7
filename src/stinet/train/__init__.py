"""Training: `fit.fit` is the whole run, `step.step` one update.

A run is a folder that holds all that is needed to go on and all that people look at: two states, averaged weights,
the log, the curve, pictures. Which crops a step sees depends on the seed, the step and the crop's number alone, so a
run that was killed goes on as if nothing had happened, on any number of processes.
"""
