# The exact versions that were tested, and the quick tests:
#   docker build -t jaxfactory . && docker run --rm jaxfactory
# To train, with the runs outside of the container:
#   docker run --rm -v "$PWD/runs:/jaxfactory/runs" jaxfactory jaxfactory train
FROM debian:trixie-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /jaxfactory
COPY . .
RUN make install LOCKED=1
ENV PATH=/jaxfactory/.venv/bin:$PATH
CMD ["make", "test-short", "LOCKED=1"]
