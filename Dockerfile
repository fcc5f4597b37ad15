# The app's image. Stages: the program, the CUDA libraries that it loads, the weights, and what runs.
#
#   docker build .                                            CUDA and CPU in one program, Florence-2-large
#   docker build --build-arg FEATURES= --build-arg MODELS= .  CPU only, no weights
#
# The platform replaces ENTRYPOINT and CMD, mounts its own folder over /app, and runs the manifest's entrypoint with bash.
ARG DEBIAN=bookworm

# Of the same system as what runs, so that no newer C library is asked for.
FROM rust:1.95-${DEBIAN} AS program
ARG FEATURES=cuda
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils nasm python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs rust-toolchain.toml models.json README.md LICENSE ./
COPY src src
COPY tests/cuda tests/cuda
COPY tests/load tests/load
COPY tests/load.rs tests/load.rs
COPY tests/fake_engine tests/fake_engine
# tests/cuda/build needs neither a GPU nor an installed CUDA; its program also starts where there is no driver.
RUN case "${FEATURES}" in \
        cuda) tests/cuda/build --bin serve-florence-2 --features nasm && program=target/cuda/build/release/serve-florence-2 ;; \
        *) cargo build --locked --release --bin serve-florence-2 --features "nasm,${FEATURES}" \
            && program=target/release/serve-florence-2 ;; \
    esac \
    && install -D "${program}" /opt/florence2/serve-florence-2

# Of CUDA's libraries only those that are loaded. Version 12 works with drivers from 525 on.
FROM python:3.11-slim-${DEBIAN} AS libraries
ARG FEATURES=cuda
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN mkdir -p /opt/florence2/lib \
    && if [[ ${FEATURES} == *cuda* ]]; then \
        pip install --no-cache-dir --no-deps --target /wheels \
            nvidia-cublas-cu12==12.8.4.1 nvidia-curand-cu12==10.3.9.90 \
        && cp /wheels/nvidia/cublas/lib/libcublas.so.12 /wheels/nvidia/cublas/lib/libcublasLt.so.12 \
            /wheels/nvidia/curand/lib/libcurand.so.10 /opt/florence2/lib/ \
        && rm -rf /wheels; \
    fi

# Weights do not depend on the program, so a new program does not send them again.
FROM debian:${DEBIAN}-slim AS weights
ARG MODELS=Florence-2-large
# One for all models; by default what models.json says, and where that says nothing, the newest.
ARG REVISION=
ARG HUB=https://huggingface.co
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl jq \
    && rm -rf /var/lib/apt/lists/*
COPY models.json /models.json
# What is loaded and nothing else; large files are compared with the SHA-256 that the hub tells.
RUN mkdir -p /checkpoints/Florence-2-{base,large,base-ft,large-ft} \
    && names=${MODELS/#all/Florence-2-large Florence-2-large-ft Florence-2-base Florence-2-base-ft} \
    && for name in ${names}; do \
        folder="/checkpoints/${name}"; \
        pinned=$(jq -r --arg name "${name}" '.[].meta | select(.model_name == $name) | .revision // "main"' /models.json); \
        url="${HUB}/microsoft/${name}/resolve/${REVISION:-${pinned}}"; \
        weights=model.safetensors; \
        curl -fsSIL -o /dev/null "${url}/${weights}" || weights=pytorch_model.bin; \
        for file in config.json preprocessor_config.json tokenizer.json "${weights}"; do \
            curl -fsSLR --retry 5 -o "${folder}/${file}" "${url}/${file}"; \
        done; \
        sha=$(curl -fsSI "${url}/${weights}" | tr -d '\r"' | awk 'tolower($1) == "x-linked-etag:" { print $2 }'); \
        echo "${sha}  ${folder}/${weights}" | sha256sum -c -; \
    done

FROM debian:${DEBIAN}-slim
# The SDK whose protocol is spoken, for the release's check against the platform's version.
LABEL python_sdk_version=6.73.486
LABEL org.opencontainers.image.title="Serve Florence-2" org.opencontainers.image.licenses="MIT"
# Docker's GPU runtime goes by these: without them a slim image has no GPU.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LANG=C.UTF-8
# ffmpeg reads videos; what draws on screens comes along with it and is left out.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bash ca-certificates coreutils ffmpeg \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man /usr/share/locale /usr/share/icons \
        /usr/lib/x86_64-linux-gnu/dri /usr/lib/x86_64-linux-gnu/libLLVM-* /usr/lib/x86_64-linux-gnu/libz3.so* \
        /usr/lib/x86_64-linux-gnu/mfx /usr/lib/x86_64-linux-gnu/libmfxhw64* \
    && ffmpeg -version && ffprobe -version
# The heaviest first: layers that do not change are not sent again.
COPY --from=weights /checkpoints/Florence-2-large /opt/florence2/checkpoints/Florence-2-large
COPY --from=weights /checkpoints/Florence-2-large-ft /opt/florence2/checkpoints/Florence-2-large-ft
COPY --from=libraries /opt/florence2/lib /opt/florence2/lib
COPY --from=weights /checkpoints/Florence-2-base /opt/florence2/checkpoints/Florence-2-base
COPY --from=weights /checkpoints/Florence-2-base-ft /opt/florence2/checkpoints/Florence-2-base-ft
RUN echo /opt/florence2/lib > /etc/ld.so.conf.d/florence2.conf && ldconfig
COPY --from=program /opt/florence2/serve-florence-2 /opt/florence2/serve-florence-2
EXPOSE 8000
CMD ["/opt/florence2/serve-florence-2", "serve", "--host", "0.0.0.0", "--port", "8000"]
