"""Tell change from noise: each topic's last days against its own past, from daily numbers alone.

Pure functions without random numbers. Shapes: D days, oldest first; T topics. NaN is "unknown". The
scale of effects and of variances is that of the measure's link: the logarithm for traffic, log-odds
for rates, the mean of logarithms for cost and latency.
"""
