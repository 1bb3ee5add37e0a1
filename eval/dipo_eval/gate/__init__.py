"""`dipo gate`: is this checkpoint worse than the baseline, beyond luck?"""
