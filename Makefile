# The commands that people need. Each is a script of the same name in scripts/.
.PHONY: help up down setup test check docs

help:
	@echo 'make up      install, start the service, analyse a real project, print where to look'
	@echo 'make down    stop the service (its data stay in .var/)'
	@echo 'make test    install everything that the tests need and run them all'
	@echo 'make check   the same without installing anything'
	@echo 'make docs    write the generated pages again'

up down setup test check docs:
	@scripts/$@
