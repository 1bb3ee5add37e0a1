"""Are these function calls those that were asked for?"""
