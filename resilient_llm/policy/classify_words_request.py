"""Wordings about the request: its length, its size, what it asks for and of whom.

One constant a concept, as patterns over lower-case sentences without URLs; `classify_rules` says what each means.
"""

from __future__ import annotations

from typing import Final

BYTES: Final = r"\b\d[\d.,_]{0,15} ?(?:bytes?|[kmg]i?b|megabytes?|characters?|chars)\b|字符|字节"
"""A size in bytes or characters."""

EXCESS: Final = (
    r"exceed|too (?:long|large|big|many|much|high)|longer than|larger than|greater than|bigger than"
    r"|more than|\bover\b|above|surpass|overflow|not enough|\bbut\b|however|cannot fit|can't fit"
    r"|n't fit|not fit|>=? ?\d|maximum (?:\w{1,12} ){0,5}(?:is|of|allowed)|<=? ?\d"
    r"|must be (?:<|less|at most|no more|under|within|between)|must have less"
    r"|should be (?:less|at most|<|\[|within)|at most|up to|reduce|shorten"
    r"|limit (?:is|of|was|for|reached|hit)|max\.? \d|maximum:? \d|allowed|only \d|reached|truncat|超"
    r"|过长|太长|不能大于|最大|leaves (?:no|0)\b"
)

OVERFLOW: Final = (
    r"(?:prompt|input|inputs|conversation|context|messages?|request|history|thread|chat|text|content"
    r"|sequence|query|document)s? (?:\w{1,12} ){0,3}(?:is|are|was|were"
    r"|being)? ?(?:\w{1,8} )?too (?:long|big)(?! to)(?!.{0,60}(?:characters|bytes))"
    r"|prompt too long|input too long|too many (?:\w{1,12} )?tokens(?! per)"
    r"|(?:reduce|shorten) (?:the |your )?(?:length|size|number) of (?:the |your )?(?:messages|prompt"
    r"|input|conversation|context|tokens)"
    r"|context[ _-]?shift|n_keep|n_ctx|outofcontext|out_of_context|out of context"
    r"|context (?:overflow|the overflows|is full)|kv[ _-]?cache (?:is )?(?:full|exhausted)"
    r"|compared to kv size|slot (?:context )?(?:is )?full|reduce your prompt|shorter (?:prompt|input)"
    r"|physical batch size|model_context_window_exceeded|token count (?:\w{1,12} ){0,3}exceed"
    r"|exceeds? (?:\w{1,12} ){0,5}(?:context|token limit)|超(?:出|过|长).{0,20}(?:上下文|token|长度)"
    r"|(?:上下文|token|输入|prompt|长度).{0,20}(?:超(?:出|过|长|限)|过长|太长)"
    r"|(?:prompt|input"
    r"|messages?) (?:\w{1,12} ){0,2}exceeds? (?:the )?max(?:imum)? (?:\w{1,12} )?length"
    r"|(?:model|prompt|input|context) max(?:imum)? (?:\w{1,12} )?length (?:is |was )?exceeded"
)

CONTEXT: Final = (
    r"context[ _-]?(?:length|window|size|limit|budget)|maximum context"
    r"|max(?:imum)?[ _-](?:\w{1,12}[ _-]){0,2}(?:prompt|input|sequence|seq|model"
    r"|context)[ _-]?(?:length|len|tokens?|size)"
    r"|max_(?:model|seq|input|position|num)_\w{3,12}"
    r"|(?:prompt|input|sequence|inputs?`?) (?:length|tokens?|size)|token (?:limit|count|budget)"
    r"|tokens? (?:\w{1,12} ){0,4}(?:limit|maximum|allowed|exceed)"
    r"|exceed\w{0,4} (?:\w{1,12} ){0,5}tokens?|number of (?:\w{1,12} )?tokens"
    r"|`?inputs`? (?:tokens|must have)|tokens in (?:the|your) (?:prompt|input|request)"
    r"|(?:prompt|request|input|messages?|conversation|it) (?:\w{1,12} ){0,3}(?:has|contains|with|of|is"
    r"|was|resulted in) (?:\w{1,12} ){0,2}\(?\d[\d,._]{0,12} tokens"
    r"|\d tokens\b|range of input length|模型.{0,10}长度|上下文长度"
)

NO_REQUEST: Final = (
    # sentences about tokens that are about values, not about the conversation's length
    r"thinking[._ ]budget|budget_tokens|below minimum|at least 1\b"
    r"|must be (?:positive|at least|an integer|greater than or equal|>=? ?[01]\b)|top_?k|top_?logprobs"
    r"|logprobs|api key|access token|array too long|stop sequences"
    r"|max (?:number of )?(?:images|tools|files)|number of images|higher max_|increase max_"
)

CAP: Final = (
    # more completion asked for than the model can write
    r"max_?(?:\w{1,12}_)?tokens?\b.{0,40}(?:too (?:large|high|big)|exceed|must be (?:<|less|at most"
    r"|no (?:more|greater)|between|in)|> ?\d|should be (?:in|between|less|<|at most)"
    r"|cannot be (?:greater|larger|more)|(?<!must be )greater than|valid range|supported range"
    r"|out of range|larger than|限制|范围)"
    r"|(?:valid|supported) range (?:of|for|is).{0,20}(?:max_?(?:\w{1,12}_)?tokens|from 1\b)"
    r"|range of max_\w{0,12}tokens|maximum tokens you requested"
    r"|maxoutputtokens.{0,60}(?:range|exceed|maximum|greater)"
    r"|at most \d[\d,]{0,12} (?:completion|output) tokens"
    r"|maximum (?:\w{1,12} ){0,3}(?:output|completion) tokens"
    r"|max_?(?:new|output|completion)_?tokens`? must be <"
)

SIZE: Final = (
    r"(?:request |message )?(?:body|payload|entity|content|file|image|upload|attachment|document|pdf"
    r"|input image|header)s? (?:\w{1,10} ){0,3}(?:too (?:large|big|long)"
    r"|exceed\w{0,4} (?:\w{1,10} ){0,4}(?:size|limit|maximum|length))"
    r"|request too large|too large (?:a )?(?:request|body|payload)|length limit exceeded"
    r"|exceeds the maximum (?:\w{1,10} )?size|string too long|string value length|content[- ]length"
    r"|max(?:imum)? (?:\w{1,10} )?(?:body|file|image|upload|payload|request) size|body limit"
    r"|larger than the maximum|文件.{0,10}过大|图片.{0,10}过大"
)

FILTER: Final = (
    r"content[ _-]?(?:management |moderation |safety |usage )?polic|content[ _-]?filter"
    r"|safety (?:system|filter|setting|polic|reason|guideline|check|violation)"
    r"|(?:prompt|input|request|content|message|text|image|output"
    r"|response)s? (?:\w{1,12} ){0,3}(?:flagged|filtered\b|deemed)"
    r"|flagged (?:as|by|for)|moderation|usage polic|guardrail|safeguards?\b|responsible ai"
    r"|inappropriate|(?:input|output|text|prompt|content|image) (?:\w{1,12} )?(?:new_)?sensitive\b"
    r"|sensitive (?:content|words?|information|material|data)"
    r"|(?:blocked|rejected|refused|filtered|stopped) (?:\w{1,12} ){0,6}(?:polic|filter|safety"
    r"|guardrail|moderation|content)"
    r"|violat\w{0,6} (?:\w{1,14} ){0,5}(?:polic|terms|guideline|rule|safety|law)"
    r"|prohibited (?:content|use)|potentially harmful|harmful content|\bnsfw\b|content exists risk"
    r"|\bunsafe (?:content|prompt|input)|unsafe or|high risk|jailbreak|explicit content|malicious|csam"
    r"|blocklist|recitation|敏感|违规|不安全|违法|审核|内容安全|风控|安全策略"
)

INVALID: Final = (
    r"jinja|chat[ _]template|raise_exception|templat|roles? must|must alternate|unsupported"
    r"|not (?:\w{1,10} )?support|n't support"
    r"|invalid(?! (?:input )?batch| (?:state|pointer|memory|handle|device)\b)"
    r"|must (?:be|have|contain|not|provide|start|end|match)|should (?:be|not|have|match)|is required"
    r"|are required|missing|schema|grammar"
    r"|(?:failed|unable|error|cannot|could not) (?:to )?(?:\w{1,8} )?(?:pars|decode|process (?:input"
    r"|image|audio|prompt)|tokeniz|load image|deserial|convert|read image)"
    r"|unexpected (?:token|keyword|field|role|type|char)"
    r"|unknown (?:field|parameter|role|type|argument|variant)|unrecognized|unrecognised"
    r"|expected .{1,60} (?:but )?(?:got|found|received)|\bexpected\b"
    r"|only .{1,60} (?:supported|allowed)|only supports?|supports? (?:only|at most)|bad request"
    r"|malformed|validation|not permitted|not allowed|cannot (?:be|have|use|specify)|can't be"
    r"|does not match|typeerror|keyerror|valueerror|no user query|not implemented|参数|格式|不支持"
    r"|can only concatenate|unexpected keyword|duplicate (?:item|id|key|message|tool|field)"
)

WRONG_PATH: Final = (
    r"invalid url|unknown (?:url|endpoint|path|route|request url)|cannot (?:post|get) |no route"
    r"|route not|route \S{1,80} not found|unexpected endpoint|page not found|file not found"
    r"|endpoint (?:\S{1,80} )?(?:not found|does not exist)|path (?:\S{1,80} )?not found"
    r"|no static resource|not found: (?:/|post|get)|method not (?:allowed|found)"
    r"|unsupported (?:endpoint|method)"
    r"|no (?:endpoints?|providers?) (?:\w{1,12} )?(?:that|which) (?:\w{1,12} ){0,2}(?:support|handle)"
    r"|(?:response|item|file|thread|assistant|conversation|batch|vector store|run|upload"
    r"|fine-tun\w{0,6} job|tool call|prompt|cached content"
    r"|cachedcontent)s? (?:with )?(?:id )?\S{0,80} ?(?:was )?(?:not found|does not exist)"
    r"|no (?:file|thread|assistant|response|batch|conversation) found"
)

NO_MODEL: Final = (
    r"(?:model|deployment|engine|adapter|lora|checkpoint|llm)s?\b(?!s? (?:do|does|did)(?: not"
    r"|n't) support)(?:[^:]|:(?! )){0,120}?(?:not[ _]found|not exist|n't exist|no longer (?:available"
    r"|supported|exists|served|offered)|decommissioned|deprecated|retired|not (?:currently "
    r"|yet )?(?:available|deployed|installed|downloaded|loaded|served|recognized|known|enabled)"
    r"|is unavailable|unknown|end of (?:its )?life|unloaded|end-of-life|(?:been|was|were) (?:removed"
    r"|shut ?down|discontinued|sunset)|discontinued|not a valid|is not valid|is invalid|is not hosted"
    r"|unreleased)"
    r"|model (?:\S{1,100} )?is not supported(?! for (?:tool|func|image|vision|stream|batch|fine"
    r"|this (?:op|feat|param)))"
    r"|(?:requested|this|specified|selected) model (?:is )?(?:not supported|unsupported|invalid)"
    r"|(?:unknown|invalid|unsupported|nonexistent|no such|unrecognized|wrong|incorrect|unavailable"
    r"|bad) (?:\w{1,12} )?model(?! output| parameter| response| config)(?:s|:|$|\b)"
    r"|no (?:\w{1,12} )?models? (?:\w{1,12} )?(?:is |are |was |were )?(?:loaded|found|available|named"
    r"|with|match|specified is)"
    r"|no (?:endpoints?|(?:allowed |available )?providers?|available channels?) (?:\w{1,12} )?(?:found"
    r"|available|are|for|support|that|match)"
    r"|try pulling it|pull model|not a (?:chat|completion|valid|known|recognized) model"
    r"|(?:on-demand throughput|inference profile)|model identifier is invalid"
    r"|(?:cannot|could not) (?:find|resolve) (?:\w{1,12} ){0,2}model|marked (?:\w{1,12} ){1,5}legacy"
    r"|(?:couldn't|can't) find (?:\w{1,12} )?model|model not exist|^models?[:/] ?\S{2,100}$"
    r"|resource not found|entity (?:was )?not found|not found for account|repository not found"
    r"|无可用渠道|模型.{0,30}(?:不存在|未找到|下线|不可用)|不支持(?:的|该|此)?模型"
    r"|supported (?:api )?model names|(?:not found|does not exist).{0,40}\bmodel"
)

MISSING: Final = r"not exist|n't exist|not found|no longer|deprecat|decommission|retired"
"""What makes a refused model a missing one."""

NAME: Final = r"maximum length \d{1,3}\b|(?:at most|exceeds|maximum of|max\.?) \d{1,3} char"
"""A limit on a name or an id, not on a size."""

MALFORMED: Final = (
    # the form of a parameter's complaint, whatever names and values it quotes
    r"invalid (?:schema|value|type|parameter|format)(?: for| at|:) |validation errors? for "
    r"|invalid '[a-z_][\w.\[\]]{1,80}': "
    r"|(?:unknown|unrecognized|unexpected) (?:request )?(?:parameter|argument|field|name|key|property)\b"
    r"|input should be |string should (?:have|match)|is not one of \[|missing required parameter"
    r"|parameter is not supported|does not support the ['\"`]|expected toolresult blocks"
)

SPECIFIC: Final = r"token|api.?key|model_?id|'model'|bytes|too (?:long|large)|exceed"
"""What such a complaint may be about that has a code of its own."""
