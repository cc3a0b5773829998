"""The routes, a module for each noun of the contract. They hold no rule: they read, ask the engine, and write."""
