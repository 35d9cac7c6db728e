//! Nothing here: the programs that checkers drive from outside are under `src/bin`.
