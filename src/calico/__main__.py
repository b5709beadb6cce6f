"""``python -m calico`` is the calico command."""

from calico.cli.main import main

if __name__ == "__main__":
    main()
