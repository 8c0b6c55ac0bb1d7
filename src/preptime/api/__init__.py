"""The online API. HTTP is translated here and nothing is decided: bytes in, `predict`, bytes out (D9).

What answers a request imports `errors`, `domain`, `features` and `bundle`, and no library of training (D3). Flask stays
in this folder, in front of nothing that a prediction needs: `hot` answers predictions before Flask's router is asked.
"""
