"""How much energy a command used, or what runs already: one target, its frames added up, repeated and compared."""
