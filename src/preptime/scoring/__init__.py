"""Files of orders in, the same rows with predictions out: in bounded memory, in order, none dropped (D4)."""
