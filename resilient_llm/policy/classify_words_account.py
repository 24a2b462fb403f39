"""Wordings about the account: its allowances, its money, its keys.

One constant a concept, as patterns over lower-case sentences without URLs; `classify_rules` says what each means.
"""

from __future__ import annotations

from typing import Final

WINDOWED: Final = (
    # an allowance that returns by itself: per minute, per day, hourly; or its usual abbreviation
    r"\b(?:tokens?|requests?|calls?|images?|queries|limits?|quota|messages"
    r"|usage)[ ,]{0,2}(?:\w{1,12} ){0,3}(?:per|/|an?|each|every) ?-?(?:\d+ )?(?:sec|second|min|minute"
    r"|hour|day|week)s?\b"
    r"|\b(?:tpm|rpm|tpd|rpd|rps|qps|qpm|itpm|otpm)\b|free-models-per|perminute|perday"
    r"|per-(?:minute|day|min)"
    r"|\b(?:hourly|daily|weekly|minute|session|\d+[- ](?:hour|day|week)s?) (?:\w{1,12} ){0,2}(?:limit"
    r"|quota|cap|allowance|allocation)\b"
    r"|\d ?(?:requests?|tokens?) ?/ ?(?:s|sec|min|minute|hour|h|day)\b"
    r"|requests? (?:rate|per|count) limit|每(?:分钟|秒|小时|天|日)"
    r"|(?:小时|每周|今日|当日).{0,10}(?:上限|限额|限制)"
)

QUOTA: Final = (
    r"insufficient (?:\w{1,12} )?(?:balance|credits?|funds|quota|tokens? balance)|insufficient_quota"
    r"|balance (?:is )?(?:not enough|insufficient|too low|negative|exhausted)|credit balance"
    r"|not enough (?:\w{1,12} )?(?:credits?|balance|funds|quota|money)"
    r"|\bno (?:\w{1,12} )?(?:credits?|balance) "
    r"|n't have (?:any|enough|sufficient) (?:\w{1,12} )?(?:credits?|balance|quota|funds)"
    r"|(?:out of|more|purchase|buy|add|additional|lack of|available|prepa\w{1,8}|included|remaining"
    r"|exhausted (?:its|your|all|the)) (?:\w{1,12} ){0,2}credits?\b"
    r"|credits? (?:\w{1,12} ){0,3}(?:exhausted|depleted|required|used up|expired|insufficient|exceeded"
    r"|too low|ran out|run out)"
    r"|credit limit|can only afford|cannot afford|can't afford|spend(?:ing)? (?:limit|cap)"
    r"|\bspend limit|billing|payment (?:is )?(?:required|method|failed|overdue)|make a payment"
    r"|past due|overdue|unpaid|\barrear|overdue-payment|delinquent"
    r"|exceeded (?:your|the|its|this) (?:\w{1,12} ){0,2}(?:current|monthly|included|total|plan|free"
    r"|allocated) (?:\w{1,12} ){0,2}(?:quota|limit|allowance|credits?|usage)(?! of \d+ (?:rpm|tpm))"
    r"|monthly (?:\w{1,12} ){0,3}(?:limit|quota|cap|credits?|allowance|budget|usage)|\bper month"
    r"|/ ?month\b|this month|prepaid|prepayment|top[- ]?up|recharge"
    r"|usage limits?\b.{0,80}(?:regain|billing)|reached your (?:specified )?(?:api )?usage limit"
    r"|extra usage|subscription (?:is )?(?:required|expired|inactive|not active|has expired)"
    r"|(?:requires|need) a (?:paid |pro )?(?:subscription|plan)"
    r"|trial (?:\w{1,12} ){0,3}(?:expired|ended|over|limit|quota)"
    r"|free (?:tier|trial|quota|credits?|plan|allocation|allowance"
    r"|allocated quota)\b.{0,40}(?:exhausted|expired|ended|exceeded|used up|no longer|reached)"
    r"|quota (?:has been |is |was )?(?:exhausted|used up|depleted|insufficient|not enough)"
    r"|service has been paused|the set (?:\w{1,12} )?limit|key limit exceeded|limit exceeded \(total"
    r"|total limit|billing cycle"
    r"|budget (?:has been |is |was )?(?:exceeded|exhausted|depleted)|exceeded (?:\w{1,12} ){0,2}budget"
    r"|over (?:your |its |the )?budget|account is not active|not active, please check|good standing"
    r"|余额|欠费|充值|额度(?:不足|已|用)|资源包|套餐.{0,8}(?:到期|过期|用完)|免费额度|每月|本月"
)

THROTTLE: Final = (
    r"rate[ _-]?limit|too many requests|throttl"
    r"|(?:requests?|tokens?|concurren\w{2,4}) (?:\w{1,12} ){0,2}(?:limit"
    r"|quota) (?:\w{1,12} ){0,2}(?:exceed|reach)"
    r"|concurren(?:t\b|cy)|slow down|request(?:ing)? too (?:frequent|fast|quick)"
    r"|quota (?:\w{1,12} )?exceeded|quota limit|resource (?:has been )?exhausted"
    r"|limit (?:reached|exceeded)|limit has been (?:reached|exceeded)|burst"
    r"|exceeded (?:your|the) (?:\w{1,12} ){0,3}(?:quota|limit)|usage limit|频率|频繁|限流|并发|限速"
    r"|速率"
)

LOCKED: Final = (
    r"(?:account|organi[sz]ation|user|workspace|project|team|tenant)\b.{0,60}(?:disabled|deactivated"
    r"|suspended|banned|blocked|terminated|restricted|locked|frozen|closed|revoked)"
    r"|access (?:\w{1,12} ){0,3}(?:terminated|revoked|suspended)"
    r"|账(?:户|号).{0,10}(?:封|禁|冻结|停用|锁定)"
)

KEYS: Final = (
    r"(?:api[- _]?|secret |access |subscription |authentication |auth )(?:key|token"
    r"|secret)s?\b.{0,60}(?:invalid|incorrect|missing|expired|not valid|revoked|disabled|malformed"
    r"|required|not found|wrong|unknown|not provided|not set|rejected|unrecognized|inactive|deleted"
    r"|leaked|not authori[sz]ed|no longer|does not exist|doesn't exist|blocked)"
    r"|(?:invalid|incorrect|missing|expired|wrong|bad|unknown|provide|provided|no|revoked|malformed"
    r"|your|valid|unauthorized|unrecognized|empty"
    r"|carry the) (?:\w{1,14} ){0,3}(?:api[- _]?(?:secret )?key|api[- _]?token|access token"
    r"|auth(?:entication|orization)?[ -]?(?:token|key|header)|bearer|credentials?|subscription key"
    r"|security token|x-api-key|jwt)"
    r"|token (?:is |has |has been |was |not )?(?:expired|invalid|revoked|provided)"
    r"|invalid (?:token|signature|username|password)"
    r"|signature (?:expired|we calculated|verification|does not match|mismatch)|\bno auth\b"
    r"|log ?in (?:fail|again)|cookie is missing|not logged in|please log ?in|sign in (?:to|again)"
    r"|must (?:be )?(?:authenticat|log)|user not found|no cookie auth|unauthori[sz]ed|unauthenticated"
    r"|not authenticated|invalid authentication|missing authentication"
    r"|authentication (?:failed|required|error|parameter|fails)"
    r"|authorization (?:failed|required|header)|permission (?:\S{1,60} )?(?:denied|error)"
    r"|access (?:is )?denied|access to (?:\S{1,40} ){1,5}(?:is|are) (?:not allowed|restricted|disabled)"
    r"|security token|身份|鉴权|认证|令牌|密钥|未授权|无权"
    r"|token.{0,4}(?:无效|过期|不正确)"
)

REGION: Final = (
    r"(?:country|region|territory|user location|your location|ip address)\b.{0,60}(?:not supported"
    r"|unsupported|not available|not allowed|blocked|restricted|forbidden)"
    r"|not (?:available|supported) in your (?:country|region|location)"
    r"|unsupported[ _](?:country|region)|virtual network|firewall|public (?:network )?access"
    r"|ip (?:whitelist|allowlist|restriction)"
)

CREDENTIALS: Final = (
    r"permission|not authori[sz]ed|not allowed to (?:use|access|sample|view|create)"
    r"|(?:not|n't) have (?:\w{1,12} ){0,3}access|no access|access to (?:the|this) (?:model|resource)"
    r"|forbidden|credential|private access|\bgated"
)

UNVERIFIED: Final = (
    r"must be verified|verify (?:your )?(?:organi[sz]ation|account|phone|identity)"
    r"|(?:phone|identity|account) verification|use case (?:details|form)"
)

NO_ACCESS: Final = r"(?:not|n't) have access|no access"
