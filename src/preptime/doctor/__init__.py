"""What is wrong with the environment that preptime runs in, and how to mend it.

Rule: a check looks and changes nothing: no file is written, no bundle fetched that serving would not fetch. Each gives
findings, and raises nothing that it can say.
"""
