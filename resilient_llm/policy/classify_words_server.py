"""Wordings about the server: its load, its health, what its model wrote.

One constant a concept, as patterns over lower-case sentences without URLs; `classify_rules` says what each means.
"""

from __future__ import annotations

from typing import Final

GENERATED: Final = (
    # what the model wrote was refused by its own server
    r"failed to generate (?:\w{1,12} )?(?:json|response|output)|tool call validation failed"
    r"|model (?:did not|didn't) (?:call|output|produce|generate|return)|failed_generation"
    r"|(?:error|failed|failure|unable to) (?:\w{1,10} ){0,2}pars(?:e|ing) (?:the )?(?:tool[_ ]?calls?"
    r"|function[_ ]?calls?|model|generated|output|completion)(?! arguments as json)"
    r"|(?:model|llm) (?:\w{1,12} ){0,2}(?:produced|generated|returned"
    r"|output) (?:\w{1,12} ){0,2}(?:invalid|malformed|output that|unparsable|an empty|empty|no )"
    r"|empty (?:response|completion|content|answer|message) (?:\w{1,12} )?(?:from|returned|received"
    r"|by)"
    r"|(?:response|stream|output) (?:\w{1,12} ){0,2}(?:was |is )?(?:empty|truncated|malformed"
    r"|incomplete)\b"
    r"|no (?:choices|candidates|content) (?:\w{1,12} )?(?:in|returned|generated)"
    r"|(?:unknown|unexpected|no) (?:items?|output|data) in (?:\w{1,12} ){0,3}response\b"
    r"|(?:returned|sent|emitted) (?:an? )?(?:empty|invalid|malformed|unparsable) (?:\w{1,12} )?(?:response"
    r"|output|json|body|event|chunk)"
    r"|(?:model|llm)(?:'s)? (?:response|output|answer) (?:did not|didn't|does not|doesn't)"
    r"|invalid tool call (?:generated|output)|produced invalid content"
    r"|before (?:completion|response\.completed|message_stop)"
    r"|unexpected end of (?:json|stream|response)"
    r"|invalid (?:response|json response) (?:from|object|body|received)|bad[_ ]response[_ ]body"
    r"|unexpected token \d{4,}|returned (?:an )?unexpected response|failed to parse input at pos"
)

REFUSED_LOAD: Final = (
    r"(?:failed|unable|error|could not|cannot"
    r"|couldn't) (?:to )?(?:\w{1,10} ){0,2}load(?:ing)? (?:the )?(?:\w{1,10} )?(?:model|weights|tensor"
    r"|adapter|library)"
    r"|model (?:\w{1,10} )?(?:failed to|could not be|cannot be|couldn't be) load"
    r"|model load(?:ing)? failed|requires more (?:system |gpu )?memory"
    r"|insufficient (?:system |gpu )?(?:memory|resources)|unknown model architecture"
    r"|model loading was stopped"
)

LOADING: Final = (
    r"\b(?:loading (?:the )?(?:\w{1,10} )?model|model (?:\S{1,80} )?(?:is "
    r"|are )?(?:\w{1,12} ){0,3}(?:loading|being loaded|warming|starting|initializing"
    r"|downloading)(?!\S))"
    r"|still loading|currently loading|is loading\b|warming up|cold start|spinning up"
    r"|not (?:yet )?(?:ready|loaded yet)\b|waking up|scaling up|scaled to zero"
    r"|is (?:still )?(?:starting|initializing)(?: up)?\b|模型(?:正在)?加载|加载中"
)

OVERLOAD: Final = (
    r"overload|over capacity|at (?:\w{1,10} )?capacity"
    r"|capacity (?:is |has been |was )?(?:exceeded|reached|full|exhausted|limit|constraint)"
    r"|(?:no|insufficient|out of|not enough|lack of|limited|exceeded) (?:\w{1,12} ){0,3}capacity"
    r"|capacity (?:available|issue|shortage)"
    r"|high (?:\w{1,10} )?(?:demand|traffic|load|volume)|heavy (?:load|traffic)"
    r"|\b(?:too|is|are|currently|server|system|service|engine|model|all \w{1,12}) (?:too )?busy"
    r"|queue (?:\w{1,10} )?(?:is )?(?:full|size|limit|timeout|exceed|depth)"
    r"|(?:max\w{0,5}|too many) (?:pending|queued|in-flight|waiting)|pending requests exceeded"
    r"|no (?:\w{1,10} )?(?:slots?|workers?|replicas?|instances?|gpus?"
    r"|available channel)(?: \w{1,10})? ?(?:available|free|ready)"
    r"|no available (?:slots?|workers?|replicas?|instances?|gpus?)"
    r"|resource (?:\w{1,10} ){0,2}(?:pressure|shortage)|under (?:heavy|high|maintenance)"
    r"|temporarily (?:unavailable|unable|out)(?! upstream)|currently unavailable|try again when"
    r"|too many connections|繁忙|过载|访问量|拥挤|负载|稍后(?:再试|重试)"
)

UNREACHABLE: Final = (
    r"connection (?:was )?(?:refused|reset|aborted|terminated|failure|failed|closed|error|timed out"
    r"|timeout)"
    r"|connect(?:ion)? (?:error|failed|timeout)|econn|enotfound|eai_again|upstream connect"
    r"|no healthy upstream|disconnect/reset|bad gateway"
    r"|(?:could not|cannot|failed to|unable to|can't|couldn't) (?:connect|reach|establish"
    r"|resolve(?! \S{1,20} (?:\S{1,20} )?model)|find host|proxy)"
    r"|actively refused|unreachable|dial tcp|getaddrinfo|name resolution|no route to host"
    r"|server disconnected|remote end closed|no server is available"
    r"|no (?:healthy|live|available) (?:upstreams?|backends?|servers?|endpoints available"
    r"|deployments?)"
    r"|unable to round-trip|unable to start|error communicating|socket hang up|broken pipe"
    r"|web server is (?:down|returning)|origin (?:is|dns|web)|host error|tunnel error|err_ngrok"
    r"|tunnel .{0,60}not found|do request failed|failed to forward|service not found in"
    r"|origin unreachable"
)

CRASH: Final = (
    r"crash|has terminated|was terminated"
    r"|process (?:\w{1,10} ){0,2}(?:terminated|exited|died|no longer running|killed)|out of memory"
    r"|\boom\b|cuda|cublas|hip error|vulkan|metal error|\bggml|segmentation fault|panic|stack trace"
    r"|unexpected eof|\beof\b|internal (?:server )?error|enginecore"
    r"|engine (?:\w{1,10} ){0,2}(?:dead|died|stopped|failed|error|encountered)|runner|compute error"
    r"|llama_decode|exited|exit code"
    r"|error (?:while|occurred while|was encountered|occurred during|in) (?:processing|running|generat"
    r"|inference)"
    r"|server had an error|server error|something went wrong|unexpected (?:error|condition|failure)"
    r"|incomplete generation|no kernel image|device-side assert|(?:failed|unable) to allocate"
    r"|cannot be allocated|alloc\w{0,8} (?:failed|error|buffer)"
    r"|unexpectedly (?:stopped|closed|exited|terminated)|memory allocation|not enough memory|nccl"
    r"|an error occurred|backend error|内部错误|系统错误|服务异常|服务器错误"
)

TIMEOUT: Final = (
    r"timed?[ -]?out\b|time-?out (?:while|waiting|reached|exceeded|error)"
    r"|(?:request|gateway|read|response|inference|upstream|generation) time-?out|timeout$"
    r"|deadline (?:exceeded|expired)|took too long|did(?: not|n't) respond in time|超时"
    r"|before the (?:given |configured )?deadline|no (?:first )?token (?:\w{1,10} ){0,3}within"
    r"|(?:did not|didn't|no|nothing) (?:\w{1,12} ){1,8}within \d{1,9} ?(?:ms|milliseconds|s|sec|seconds|minutes?)\b"
)
