# bash completion for kepler-ebpf, made of its parser by deploy/completion.py.

_kepler_ebpf_kind() {  # VERB OPTION; sets kind: what the option's value is, empty where it takes none
    case "$1 $2" in
        "serve --sample-interval" | "serve --rows" | "serve --cgroup-rows" | "serve --cpu-budget" | "serve --hyperthread-ratio" | "serve --idle-watts" | "serve --gpu-idle-watts" | "serve --metrics-interval" | "serve --namespaces" | "serve --max-process-series" | "serve --exit-hold" | "serve --model-idle-watts" | "serve --model-max-watts" | "serve --hwmon" | "serve --kubelet-url" | "serve --kubelet-server-name" | "serve --listen" | "top --filter" | "top --sample-interval" | "top --rows" | "top --cgroup-rows" | "top --cpu-budget" | "top --hyperthread-ratio" | "top --idle-watts" | "top --gpu-idle-watts" | "top --model-idle-watts" | "top --model-max-watts" | "top --hwmon" | "top --kubelet-url" | "top --kubelet-server-name" | "stat -r" | "stat --repeat" | "stat --warmup" | "stat --prepare" | "stat --vs" | "stat -p" | "stat --pid" | "stat --container" | "stat --duration" | "stat --max-joules" | "stat -i" | "stat --interval" | "stat --sample-interval" | "stat --rows" | "stat --cgroup-rows" | "stat --hyperthread-ratio" | "stat --idle-watts" | "stat --gpu-idle-watts" | "stat --model-idle-watts" | "stat --model-max-watts" | "stat --hwmon" | "stat --kubelet-url" | "stat --kubelet-server-name" | "record -i" | "record --interval" | "record --sample-interval" | "record --duration" | "record --rows" | "record --cgroup-rows" | "record --hyperthread-ratio" | "record --idle-watts" | "record --gpu-idle-watts" | "record --model-idle-watts" | "record --model-max-watts" | "record --hwmon" | "record --kubelet-url" | "record --kubelet-server-name" | "report --top" | "report --only" | "report --hyperthread-ratio" | "doctor --model-idle-watts" | "doctor --model-max-watts" | "doctor --hwmon" | "doctor --kubelet-url" | "doctor --kubelet-server-name" | "health --listen")
            kind="ANYTHING" ;;
        "serve --idle-policy" | "top --idle-policy" | "stat --idle-policy" | "record --idle-policy" | "report --idle-policy")
            kind="none proportional equal requests" ;;
        "serve --system-slices" | "serve --kubelet-verify" | "top --system-slices" | "top --kubelet-verify" | "stat --system-slices" | "stat --kubelet-verify" | "record --system-slices" | "record --kubelet-verify" | "doctor --kubelet-verify")
            kind="on off" ;;
        "serve --metrics")
            kind="LIST node pod container process vm" ;;
        "serve --process-metrics")
            kind="all off" ;;
        "serve --state-directory" | "serve --procfs" | "serve --sysfs" | "serve --cgroupfs" | "top --procfs" | "top --sysfs" | "top --cgroupfs" | "stat --cgroup" | "stat --procfs" | "stat --sysfs" | "stat --cgroupfs" | "record --procfs" | "record --sysfs" | "record --cgroupfs" | "doctor --procfs" | "doctor --sysfs" | "doctor --cgroupfs")
            kind="FOLDER" ;;
        "serve --kubelet-token" | "serve --kubelet-ca" | "serve --cri-socket" | "serve --docker-socket" | "serve --podman-socket" | "serve --web-config" | "top --kubelet-token" | "top --kubelet-ca" | "top --cri-socket" | "top --docker-socket" | "top --podman-socket" | "stat --json" | "stat -o" | "stat --output" | "stat --kubelet-token" | "stat --kubelet-ca" | "stat --cri-socket" | "stat --docker-socket" | "stat --podman-socket" | "record -o" | "record --output" | "record --kubelet-token" | "record --kubelet-ca" | "record --cri-socket" | "record --docker-socket" | "record --podman-socket" | "report --html" | "report --svg" | "report --png" | "report --csv" | "report --parquet" | "report --firefox" | "report --flame" | "doctor --kubelet-token" | "doctor --kubelet-ca" | "doctor --cri-socket" | "doctor --docker-socket" | "doctor --podman-socket" | "health --web-config")
            kind="FILE" ;;
        "serve --log-level")
            kind="debug info warning error" ;;
        "serve --log-format" | "top --log-format" | "stat --log-format" | "record --log-format")
            kind="text json" ;;
        "top --by")
            kind="process program container pod namespace vm" ;;
        "top --sort")
            kind="watts peak joules name" ;;
        "report --by")
            kind="container pod namespace program process" ;;
        *) kind= ;;
    esac
}

_kepler_ebpf_reply() {  # KIND; what completes cur
    local IFS=$'\n'
    case $1 in
        FILE) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
        FOLDER) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -d -- "$cur")) ;;
        ANYTHING) ;;
        LIST\ *)
            local before= words=${1#LIST }
            [[ $cur == *,* ]] && before=${cur%,*},
            compopt -o nospace 2> /dev/null
            COMPREPLY=($(compgen -P "$before" -W "${words// /$IFS}" -- "${cur##*,}"))
            ;;
        *) COMPREPLY=($(compgen -W "${1// /$IFS}" -- "$cur")) ;;
    esac
}

_kepler_ebpf() {
    local cur=${COMP_WORDS[COMP_CWORD]} verb=serve option= kind= i=1 command=0 word
    COMPREPLY=()
    if ((COMP_CWORD > 1)); then
        case ${COMP_WORDS[1]} in
            serve | top | stat | record | report | doctor | health) verb=${COMP_WORDS[1]} i=2 ;;
        esac
    fi
    for ((; i < COMP_CWORD && command == 0; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $option && $word == = ]]; then
            continue  # --option=value is three words here
        elif [[ $option ]]; then
            option=
        elif [[ $word == -- ]]; then
            command=$((i + 1))
        elif [[ $word == -* ]]; then
            _kepler_ebpf_kind "$verb" "$word"
            [[ $kind ]] && option=$word
        else
            command=$i
        fi
    done
    if [[ $option ]]; then
        [[ $cur == = ]] && cur=
        _kepler_ebpf_kind "$verb" "$option"
        _kepler_ebpf_reply "$kind"
        return
    fi
    case $verb in
        stat | record)
            if ((command)) && declare -F _command_offset > /dev/null; then
                _command_offset "$command"
                return
            elif ((command && COMP_CWORD > command)); then
                _kepler_ebpf_reply FILE
                return
            elif ((command)) || [[ $cur != -* ]]; then
                COMPREPLY=($(compgen -c -- "$cur"))
                return
            fi
            ;;
        report)
            [[ $cur != -* ]] && _kepler_ebpf_reply FILE && return
            ;;
    esac
    case $verb in
        serve) kind="-h --help --sample-interval --rows --cgroup-rows --cpu-budget --idle-policy --hyperthread-ratio --idle-watts --gpu-idle-watts --system-slices --metrics-interval --metrics --namespaces --process-metrics --max-process-series --exit-hold --state-directory --model-idle-watts --model-max-watts --hwmon --kubelet-url --kubelet-token --kubelet-ca --kubelet-server-name --kubelet-verify --cri-socket --docker-socket --podman-socket --listen --web-config --procfs --sysfs --cgroupfs --log-level --log-format" ;;
        top) kind="-h --help --by --sort --filter --tree --once --sample-interval --rows --cgroup-rows --cpu-budget --idle-policy --hyperthread-ratio --idle-watts --gpu-idle-watts --system-slices --model-idle-watts --model-max-watts --hwmon --kubelet-url --kubelet-token --kubelet-ca --kubelet-server-name --kubelet-verify --cri-socket --docker-socket --podman-socket --procfs --sysfs --cgroupfs --log-format" ;;
        stat) kind="-h --help -r --repeat --warmup --prepare --vs -p --pid --cgroup --container --duration --max-joules -i --interval --sample-interval --no-wait --json --csv --markdown -o --output --rows --cgroup-rows --idle-policy --hyperthread-ratio --idle-watts --gpu-idle-watts --system-slices --model-idle-watts --model-max-watts --hwmon --kubelet-url --kubelet-token --kubelet-ca --kubelet-server-name --kubelet-verify --cri-socket --docker-socket --podman-socket --procfs --sysfs --cgroupfs --log-format" ;;
        record) kind="-h --help -o --output -i --interval --sample-interval --duration --rows --cgroup-rows --idle-policy --hyperthread-ratio --idle-watts --gpu-idle-watts --system-slices --model-idle-watts --model-max-watts --hwmon --kubelet-url --kubelet-token --kubelet-ca --kubelet-server-name --kubelet-verify --cri-socket --docker-socket --podman-socket --procfs --sysfs --cgroupfs --log-format" ;;
        report) kind="-h --help --by --top --only --html --svg --png --csv --parquet --firefox --flame --frames --idle-policy --hyperthread-ratio" ;;
        doctor) kind="-h --help --model-idle-watts --model-max-watts --hwmon --kubelet-url --kubelet-token --kubelet-ca --kubelet-server-name --kubelet-verify --cri-socket --docker-socket --podman-socket --procfs --sysfs --cgroupfs" ;;
        health) kind="-h --help --listen --web-config" ;;
    esac
    ((COMP_CWORD == 1)) && kind="serve top stat record report doctor health --version $kind"
    _kepler_ebpf_reply "$kind"
}

complete -F _kepler_ebpf kepler-ebpf
