#compdef kepler-ebpf
# zsh completion for kepler-ebpf, made of its parser by deploy/completion.py.

local -a verbs=(
    'serve:Run the collector and serve its metrics'
    'top:Show what uses power now, live at the terminal'
    'stat:Measure the energy of a command, or of what runs already, as perf stat counts events'
    'record:Record every frame of every process and container to a file'
    'report:Show what a recording holds'
    'doctor:Say what this machine offers, what follows, and how to mend what is missing'
    'health:Ask the running collector whether it is well'
)
if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe verb verbs
    return
fi
local verb=serve
if [[ $words[2] != -* ]]; then
    verb=$words[2]
    shift words
    (( CURRENT-- ))
fi
local -i end=${words[(i)--]}
if [[ $verb == (stat|record) ]] && (( end < CURRENT )); then
    shift $end words
    (( CURRENT -= end ))
    _normal
    return
fi
case $verb in
    serve)
        _arguments -s -S '(-h --help)-h[show this help message and exit]' \
            '(-h --help)--help[show this help message and exit]' \
            '(--sample-interval)--sample-interval=[time between samples, 10ms to 60s]:VALUE: ' \
            '(--rows)--rows=[rows of the process table in the kernel]:VALUE: ' \
            '(--cgroup-rows)--cgroup-rows=[rows of the cgroup table in the kernel]:VALUE: ' \
            '(--cpu-budget)--cpu-budget=[most CPU that sampling may use, per cent of one core]:VALUE: ' \
            '(--idle-policy)--idle-policy=[who is charged with idle energy]:VALUE:(none proportional equal requests)' \
            '(--hyperthread-ratio)--hyperthread-ratio=[energy of two busy hyperthreads over that of one]:VALUE: ' \
            '(--idle-watts)--idle-watts=[idle floor of all packages together, in place of the learned one, spread evenly over them]:VALUE: ' \
            '(--gpu-idle-watts)--gpu-idle-watts=[idle floor of each GPU, in place of the learned one]:VALUE: ' \
            '(--system-slices)--system-slices=[on: one workload for each systemd service instead of one for all of them]:VALUE:(on off)' \
            '(--metrics-interval)--metrics-interval=[time between publications]:VALUE: ' \
            '(--metrics)--metrics=[levels of detail to publish, separated by commas]:VALUE:_values -s , level node pod container process vm' \
            '(--namespaces)--namespaces=[namespaces whose pods and containers have series, separated by commas]:VALUE: ' \
            '(--process-metrics)--process-metrics=[processes that get series of their own]:VALUE:(all off)' \
            '(--max-process-series)--max-process-series=[most process series there may ever be, those of the dead included]:VALUE: ' \
            '(--exit-hold)--exit-hold=[how long series stay after their process or container has died]:VALUE: ' \
            '(--state-directory)--state-directory=[folder for a small file by which the node'\''s counters go on after a restart within one boot]:VALUE:_files -/' \
            '(--model-idle-watts)--model-idle-watts=[power model: watts of the idle node, where you know better]:VALUE: ' \
            '(--model-max-watts)--model-max-watts=[power model: watts of the node at full load, where you know better]:VALUE: ' \
            '(--hwmon)--hwmon=[board sensors to meter beside the known ones]:VALUE: ' \
            '(--kubelet-url)--kubelet-url=[the kubelet to ask for pods'\'' names]:VALUE: ' \
            '(--kubelet-token)--kubelet-token=[file with the token for the kubelet, in place of the service account'\''s]:VALUE:_files' \
            '(--kubelet-ca)--kubelet-ca=[file with the CA of the kubelet'\''s certificate, in place of the cluster'\''s]:VALUE:_files' \
            '(--kubelet-server-name)--kubelet-server-name=[name in the kubelet'\''s certificate, where it is not the host of the URL]:VALUE: ' \
            '(--kubelet-verify)--kubelet-verify=[off takes any certificate of the kubelet, and so shows the token to whoever answers there]:VALUE:(on off)' \
            '(--cri-socket)--cri-socket=[the container runtime'\''s CRI socket, several separated by commas, or off]:VALUE:_files' \
            '(--docker-socket)--docker-socket=[docker'\''s socket, several separated by commas, or off]:VALUE:_files' \
            '(--podman-socket)--podman-socket=[podman'\''s API socket, several separated by commas, or off]:VALUE:_files' \
            '(--listen)--listen=[address to serve on: :9102 is every address, IPv4 and IPv6]:VALUE: ' \
            '(--web-config)--web-config=[TLS and basic authentication of the endpoint]:VALUE:_files' \
            '(--procfs)--procfs=[the host'\''s /proc]:VALUE:_files -/' \
            '(--sysfs)--sysfs=[the host'\''s /sys]:VALUE:_files -/' \
            '(--cgroupfs)--cgroupfs=[the host'\''s /sys/fs/cgroup]:VALUE:_files -/' \
            '(--log-level)--log-level=[what is logged: debug, info, warning, error]:VALUE:(debug info warning error)' \
            '(--log-format)--log-format=[how it is logged: text, json]:VALUE:(text json)' \
            '(- *)--version[show the version]'
        ;;
    top)
        _arguments -s -S '(-h --help)-h[show this help message and exit]' \
            '(-h --help)--help[show this help message and exit]' \
            '(--by)--by=[what the rows are]:BY:(process program container pod namespace vm)' \
            '(--sort)--sort=[by which column]:SORT:(watts peak joules name)' \
            '(--filter)--filter=[only rows with this in their name or place]:TEXT: ' \
            '(--tree)--tree[pods, their containers, and the processes in these]' \
            '(--once)--once[print one second as plain text, and end]' \
            '(--sample-interval)--sample-interval=[time between samples, 10ms to 60s]:VALUE: ' \
            '(--rows)--rows=[rows of the process table in the kernel]:VALUE: ' \
            '(--cgroup-rows)--cgroup-rows=[rows of the cgroup table in the kernel]:VALUE: ' \
            '(--cpu-budget)--cpu-budget=[most CPU that sampling may use, per cent of one core]:VALUE: ' \
            '(--idle-policy)--idle-policy=[who is charged with idle energy]:VALUE:(none proportional equal requests)' \
            '(--hyperthread-ratio)--hyperthread-ratio=[energy of two busy hyperthreads over that of one]:VALUE: ' \
            '(--idle-watts)--idle-watts=[idle floor of all packages together, in place of the learned one, spread evenly over them]:VALUE: ' \
            '(--gpu-idle-watts)--gpu-idle-watts=[idle floor of each GPU, in place of the learned one]:VALUE: ' \
            '(--system-slices)--system-slices=[on: one workload for each systemd service instead of one for all of them]:VALUE:(on off)' \
            '(--model-idle-watts)--model-idle-watts=[power model: watts of the idle node, where you know better]:VALUE: ' \
            '(--model-max-watts)--model-max-watts=[power model: watts of the node at full load, where you know better]:VALUE: ' \
            '(--hwmon)--hwmon=[board sensors to meter beside the known ones]:VALUE: ' \
            '(--kubelet-url)--kubelet-url=[the kubelet to ask for pods'\'' names]:VALUE: ' \
            '(--kubelet-token)--kubelet-token=[file with the token for the kubelet, in place of the service account'\''s]:VALUE:_files' \
            '(--kubelet-ca)--kubelet-ca=[file with the CA of the kubelet'\''s certificate, in place of the cluster'\''s]:VALUE:_files' \
            '(--kubelet-server-name)--kubelet-server-name=[name in the kubelet'\''s certificate, where it is not the host of the URL]:VALUE: ' \
            '(--kubelet-verify)--kubelet-verify=[off takes any certificate of the kubelet, and so shows the token to whoever answers there]:VALUE:(on off)' \
            '(--cri-socket)--cri-socket=[the container runtime'\''s CRI socket, several separated by commas, or off]:VALUE:_files' \
            '(--docker-socket)--docker-socket=[docker'\''s socket, several separated by commas, or off]:VALUE:_files' \
            '(--podman-socket)--podman-socket=[podman'\''s API socket, several separated by commas, or off]:VALUE:_files' \
            '(--procfs)--procfs=[the host'\''s /proc]:VALUE:_files -/' \
            '(--sysfs)--sysfs=[the host'\''s /sys]:VALUE:_files -/' \
            '(--cgroupfs)--cgroupfs=[the host'\''s /sys/fs/cgroup]:VALUE:_files -/' \
            '(--log-format)--log-format=[how it is logged: text, json]:VALUE:(text json)'
        ;;
    stat)
        _arguments -s -S '(-h --help)-h[show this help message and exit]' \
            '(-h --help)--help[show this help message and exit]' \
            '(-r --repeat)-r+[run it so often: mean, σ and outliers]:N: ' \
            '(-r --repeat)--repeat=[run it so often: mean, σ and outliers]:N: ' \
            '(--warmup)--warmup=[runs before these, which do not count]:N: ' \
            '(--prepare)--prepare=[line of shell to run before each run, unmeasured]:CMD: ' \
            '(--vs)--vs=[another command, as one word, to compare with]:CMD: ' \
            '*-p+[watch these processes and their descendants]:PID[,PID]: ' \
            '*--pid=[watch these processes and their descendants]:PID[,PID]: ' \
            '(--cgroup)--cgroup=[watch a cgroup and all below it]:PATH:_files -/' \
            '(--container)--container=[watch a container: its name, id, pod/name or namespace/pod/name]:NAME: ' \
            '(--duration)--duration=[how long to watch, such as 60s]:DURATION: ' \
            '(--max-joules)--max-joules=[exit with 121 where more is used than this]:N: ' \
            '(-i --interval --sample-interval)-i+[time between samples]:DURATION: ' \
            '(-i --interval --sample-interval)--interval=[time between samples]:DURATION: ' \
            '(-i --interval --sample-interval)--sample-interval=[time between samples]:DURATION: ' \
            '(--no-wait)--no-wait[do not wait until the idle power of the machine is known]' \
            '(--json)--json=[write all runs to this file, too, as JSON]:FILE:_files' \
            '(--csv)--csv[print a line of CSV for each run]' \
            '(--markdown)--markdown[print a table in Markdown]' \
            '(-o --output)-o+[print to this file, not to standard error]:FILE:_files' \
            '(-o --output)--output=[print to this file, not to standard error]:FILE:_files' \
            '(--rows)--rows=[rows of the process table in the kernel]:VALUE: ' \
            '(--cgroup-rows)--cgroup-rows=[rows of the cgroup table in the kernel]:VALUE: ' \
            '(--idle-policy)--idle-policy=[who is charged with idle energy]:VALUE:(none proportional equal requests)' \
            '(--hyperthread-ratio)--hyperthread-ratio=[energy of two busy hyperthreads over that of one]:VALUE: ' \
            '(--idle-watts)--idle-watts=[idle floor of all packages together, in place of the learned one, spread evenly over them]:VALUE: ' \
            '(--gpu-idle-watts)--gpu-idle-watts=[idle floor of each GPU, in place of the learned one]:VALUE: ' \
            '(--system-slices)--system-slices=[on: one workload for each systemd service instead of one for all of them]:VALUE:(on off)' \
            '(--model-idle-watts)--model-idle-watts=[power model: watts of the idle node, where you know better]:VALUE: ' \
            '(--model-max-watts)--model-max-watts=[power model: watts of the node at full load, where you know better]:VALUE: ' \
            '(--hwmon)--hwmon=[board sensors to meter beside the known ones]:VALUE: ' \
            '(--kubelet-url)--kubelet-url=[the kubelet to ask for pods'\'' names]:VALUE: ' \
            '(--kubelet-token)--kubelet-token=[file with the token for the kubelet, in place of the service account'\''s]:VALUE:_files' \
            '(--kubelet-ca)--kubelet-ca=[file with the CA of the kubelet'\''s certificate, in place of the cluster'\''s]:VALUE:_files' \
            '(--kubelet-server-name)--kubelet-server-name=[name in the kubelet'\''s certificate, where it is not the host of the URL]:VALUE: ' \
            '(--kubelet-verify)--kubelet-verify=[off takes any certificate of the kubelet, and so shows the token to whoever answers there]:VALUE:(on off)' \
            '(--cri-socket)--cri-socket=[the container runtime'\''s CRI socket, several separated by commas, or off]:VALUE:_files' \
            '(--docker-socket)--docker-socket=[docker'\''s socket, several separated by commas, or off]:VALUE:_files' \
            '(--podman-socket)--podman-socket=[podman'\''s API socket, several separated by commas, or off]:VALUE:_files' \
            '(--procfs)--procfs=[the host'\''s /proc]:VALUE:_files -/' \
            '(--sysfs)--sysfs=[the host'\''s /sys]:VALUE:_files -/' \
            '(--cgroupfs)--cgroupfs=[the host'\''s /sys/fs/cgroup]:VALUE:_files -/' \
            '(--log-format)--log-format=[how it is logged: text, json]:VALUE:(text json)' \
            '(-):command: _command_names -e' \
            '*::arguments: _normal'
        ;;
    record)
        _arguments -s -S '(-h --help)-h[show this help message and exit]' \
            '(-h --help)--help[show this help message and exit]' \
            '(-o --output)-o+[file to write]:FILE:_files' \
            '(-o --output)--output=[file to write]:FILE:_files' \
            '(-i --interval --sample-interval)-i+[time between samples]:DURATION: ' \
            '(-i --interval --sample-interval)--interval=[time between samples]:DURATION: ' \
            '(-i --interval --sample-interval)--sample-interval=[time between samples]:DURATION: ' \
            '(--duration)--duration=[how long to record, such as 60s]:DURATION: ' \
            '(--rows)--rows=[rows of the process table in the kernel]:VALUE: ' \
            '(--cgroup-rows)--cgroup-rows=[rows of the cgroup table in the kernel]:VALUE: ' \
            '(--idle-policy)--idle-policy=[who is charged with idle energy]:VALUE:(none proportional equal requests)' \
            '(--hyperthread-ratio)--hyperthread-ratio=[energy of two busy hyperthreads over that of one]:VALUE: ' \
            '(--idle-watts)--idle-watts=[idle floor of all packages together, in place of the learned one, spread evenly over them]:VALUE: ' \
            '(--gpu-idle-watts)--gpu-idle-watts=[idle floor of each GPU, in place of the learned one]:VALUE: ' \
            '(--system-slices)--system-slices=[on: one workload for each systemd service instead of one for all of them]:VALUE:(on off)' \
            '(--model-idle-watts)--model-idle-watts=[power model: watts of the idle node, where you know better]:VALUE: ' \
            '(--model-max-watts)--model-max-watts=[power model: watts of the node at full load, where you know better]:VALUE: ' \
            '(--hwmon)--hwmon=[board sensors to meter beside the known ones]:VALUE: ' \
            '(--kubelet-url)--kubelet-url=[the kubelet to ask for pods'\'' names]:VALUE: ' \
            '(--kubelet-token)--kubelet-token=[file with the token for the kubelet, in place of the service account'\''s]:VALUE:_files' \
            '(--kubelet-ca)--kubelet-ca=[file with the CA of the kubelet'\''s certificate, in place of the cluster'\''s]:VALUE:_files' \
            '(--kubelet-server-name)--kubelet-server-name=[name in the kubelet'\''s certificate, where it is not the host of the URL]:VALUE: ' \
            '(--kubelet-verify)--kubelet-verify=[off takes any certificate of the kubelet, and so shows the token to whoever answers there]:VALUE:(on off)' \
            '(--cri-socket)--cri-socket=[the container runtime'\''s CRI socket, several separated by commas, or off]:VALUE:_files' \
            '(--docker-socket)--docker-socket=[docker'\''s socket, several separated by commas, or off]:VALUE:_files' \
            '(--podman-socket)--podman-socket=[podman'\''s API socket, several separated by commas, or off]:VALUE:_files' \
            '(--procfs)--procfs=[the host'\''s /proc]:VALUE:_files -/' \
            '(--sysfs)--sysfs=[the host'\''s /sys]:VALUE:_files -/' \
            '(--cgroupfs)--cgroupfs=[the host'\''s /sys/fs/cgroup]:VALUE:_files -/' \
            '(--log-format)--log-format=[how it is logged: text, json]:VALUE:(text json)' \
            '(-):command: _command_names -e' \
            '*::arguments: _normal'
        ;;
    report)
        _arguments -s -S '(-h --help)-h[show this help message and exit]' \
            '(-h --help)--help[show this help message and exit]' \
            ':FILE:_files' \
            ':FILE2:_files' \
            '*--by=[what energy is told by]:BY:(container pod namespace program process)' \
            '(--top)--top=[most workloads in a list]:N: ' \
            '(--only)--only=[give only those a line who have TEXT in their name]:TEXT: ' \
            '(--html)--html=[a page: power over time to zoom into, and a table]:FILE:_files' \
            '(--svg)--svg=[a picture of the power over time]:FILE:_files' \
            '(--png)--png=[the same as PNG]:FILE:_files' \
            '(--csv)--csv=[energy by workload, for spreadsheets]:FILE:_files' \
            '(--parquet)--parquet=[the same, for data frames]:FILE:_files' \
            '(--firefox)--firefox=[power tracks for the Firefox Profiler]:FILE:_files' \
            '(--flame)--flame=[folded stacks, microjoules by node]:FILE:_files' \
            '(--frames)--frames[with --csv and --parquet]' \
            '(--idle-policy)--idle-policy=[who is charged with idle energy]:VALUE:(none proportional equal requests)' \
            '(--hyperthread-ratio)--hyperthread-ratio=[energy of two busy hyperthreads over that of one]:VALUE: '
        ;;
    doctor)
        _arguments -s -S '(-h --help)-h[show this help message and exit]' \
            '(-h --help)--help[show this help message and exit]' \
            '(--model-idle-watts)--model-idle-watts=[power model: watts of the idle node, where you know better]:VALUE: ' \
            '(--model-max-watts)--model-max-watts=[power model: watts of the node at full load, where you know better]:VALUE: ' \
            '(--hwmon)--hwmon=[board sensors to meter beside the known ones]:VALUE: ' \
            '(--kubelet-url)--kubelet-url=[the kubelet to ask for pods'\'' names]:VALUE: ' \
            '(--kubelet-token)--kubelet-token=[file with the token for the kubelet, in place of the service account'\''s]:VALUE:_files' \
            '(--kubelet-ca)--kubelet-ca=[file with the CA of the kubelet'\''s certificate, in place of the cluster'\''s]:VALUE:_files' \
            '(--kubelet-server-name)--kubelet-server-name=[name in the kubelet'\''s certificate, where it is not the host of the URL]:VALUE: ' \
            '(--kubelet-verify)--kubelet-verify=[off takes any certificate of the kubelet, and so shows the token to whoever answers there]:VALUE:(on off)' \
            '(--cri-socket)--cri-socket=[the container runtime'\''s CRI socket, several separated by commas, or off]:VALUE:_files' \
            '(--docker-socket)--docker-socket=[docker'\''s socket, several separated by commas, or off]:VALUE:_files' \
            '(--podman-socket)--podman-socket=[podman'\''s API socket, several separated by commas, or off]:VALUE:_files' \
            '(--procfs)--procfs=[the host'\''s /proc]:VALUE:_files -/' \
            '(--sysfs)--sysfs=[the host'\''s /sys]:VALUE:_files -/' \
            '(--cgroupfs)--cgroupfs=[the host'\''s /sys/fs/cgroup]:VALUE:_files -/'
        ;;
    health)
        _arguments -s -S '(-h --help)-h[show this help message and exit]' \
            '(-h --help)--help[show this help message and exit]' \
            '(--listen)--listen=[address to serve on: :9102 is every address, IPv4 and IPv6]:VALUE: ' \
            '(--web-config)--web-config=[TLS and basic authentication of the endpoint]:VALUE:_files'
        ;;
esac
