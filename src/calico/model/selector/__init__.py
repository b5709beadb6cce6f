"""The selector language: lexing, parsing, evaluation, canonical form and unique ids."""
