"""Word lists behind the recogniser of names: common surnames and given names of Singapore and Malaysia, and words that are
written like names and are none. Lists of words that everybody shares, of nobody in particular."""

from __future__ import annotations

SURNAMES = frozenset(
    """tan lim lee ng ong wong goh chua chan koh teo ang yeo tay ho low toh sim chong chia fong leong leow seah lau wee neo
    chew foo quek heng loh cheong cheng chang cheung yap yong yeoh lai lam liew loke soh soon sng chin chiam poh phua pang peh
    thia tham tang tong toa ooi oh mok mah lum kwok kwek kwan khoo kho kang kong hong hoe gan gwee fu eng choo choy chng
    choong cher cheah boey boon bok aw au chen wang zhang liu yang huang zhao wu zhou xu sun ma zhu hu guo lin gao luo zheng liang
    xie song deng han feng cao peng zeng xiao tian dong pan yuan cai jiang yu du ye wei su lu ding ren shen yao lu
    smith jones williams brown taylor davies wilson evans thomas johnson roberts walker wright robinson thompson hughes edwards
    miller davis garcia martinez anderson martin jackson harris clark lewis nguyen tran pham singh kaur kumar nair pillai rajan
    menon sharma patel gupta raj raju krishnan subramaniam balakrishnan fernandez fernando dsouza pereira rodrigues gomez santos
    cruz reyes hassan ismail abdullah rahman ibrahim osman yusof ahmad aziz hamid salleh othman mohamed razak bakar
    wijaya santoso hartono tanaka suzuki sato kim park""".split()
)

# Syllables of given names in the usual romanisations (Mandarin, Hokkien, Teochew, Cantonese, Hakka).
SYLLABLES = frozenset(
    """ah ai an bee beng bin bing bok boon chai chee chen cheng cher cheng chew chiang chin ching chong choo choon chow chuan chun
    chung chye da de ee eng fang fei fen fong fu gek geok guan guat gui guo hai han hao har heng hian hiang ho hock hoe hoi hong
    hoon hooi hsien hua huat huay hui hung hwa hwee jia jian jiahui jie jin jing joo jun junjie kai kang keat kee keng khim khoon
    kiat kim kok kong koon kuan kwang kwok kwong lai lan lay lee leng li lian liang lin ling long loong loo luan mei meng mee miao
    min ming mui nam ngee ngoh ning pei peng phaik pin ping poh qi qian qing quan rong ru rui ruo sai san see seng shan shen
    sheng shi shu shuang si siang siew sim sin sing siong siow siu soh sok soo soon sook su suan sui sze tat teck teng thiam
    thong tian tiong ting tong tuck wah wai wan wee wei wen weiming weijie wing woon xian xiang xiao xin xing xiu xue xuan ya yan
    yang yee yen yi yih yin ying yit yixin yoke yong yoon yu yuan yue yuen yuet yun zhen zheng zhi zhong zi ziyang zhihao zhiwei
    jiawei junwei jiaying xinyi huiling meiling siewling weiling minghao kaiwen weixiang""".split()
)

GIVEN = frozenset(
    """aaron abigail adam adeline adrian agnes aidan alan albert alex alexander alexis alfred alice alicia alvin amanda amelia amy
    andrea andrew andy angela angeline anita ann anna anne annie anthony april arjun arthur ashley audrey aziz azizah barbara ben
    benedict benjamin benny bernard bernice bob brandon brenda brian bryan calvin candice carol caroline catherine charlene charles charlotte
    cheryl chloe chris christina christine christopher cindy claire clara clarence cliff colin connie crystal cynthia daisy
    daniel danny darren david dawn dean deborah deepa dennis derek derrick desmond diana dominic donald doris dorothy douglas edmund
    edward edwin elaine elena elizabeth ellen emily emma eric erica ethan eugene evelyn faith farah faridah fatimah felicia felix fiona florence frances francis
    frank gabriel gary george gerald germaine gilbert gina gloria grace graham gregory hafiz hannah harold harry helen henry
    ian irene isaac isabel isabelle ivan ivy jack jackie jacob jaime james jamie jane janet janice jared jasmine jason jean jeffrey
    jennifer jenny jeremy jerry jesse jessica jessie jill jim jimmy joan joanna joanne joe joel john johnny jonathan joseph josephine joshua
    joyce judy julia julian julie justin karen kate katherine kathy kavitha keith kelly ken kenneth kenny kevin kimberly kumar lakshmi larry laura lauren
    lawrence leonard leslie lily linda lisa louis louise lucas lucy luke lydia lynn maggie marcus margaret maria mariam marie mark
    martin mary matthew maurice max may melissa melvin michael michelle mike mohamed mohammad mohammed monica muhammad muthu nancy natalie natasha nathan
    nicholas nicole nigel noah nora norman nurul olivia oliver oscar pamela patricia patrick paul pauline peggy peter philip priscilla priya
    rachel rahim rajesh ramesh ravi raymond rebecca regina richard rita robert robin roger ronald rosalind rose roy ruth ryan
    sabrina sally sam samantha samuel sandra sanjay sarah sean selina serene shanti sharon shawn sheila sherry shirley simon siti sofia sonia
    sophia sophie stanley stella stephanie stephen steve steven stuart sunil suresh susan suzanne sylvia tania teresa terence thomas
    tiffany tim timothy tina tom tony tracy valerie vanessa vera veronica victor victoria vijay vincent viola vivian walter wendy
    wilfred william wilson winnie xavier yvonne zachary zainab zoe nur aisyah aminah hakim haziq iskandar khairul norhayati
    rosnah rosmah syafiq zulkifli azman faizal hafizah kamal latifah nadia rashid roslan salmah shahrul suhaimi zaleha ming""".split()
)

# Capitalised words that follow "call", "ask for", "this is" or a title and are no one's name.
NOT_NAMES = frozenset(
    """a about account accounts admin administration after again ah all already also am an and any anyone apr april are as asap at aug august back
    bank because bedok been before billing boss both box boxes branch but by call can central chef city clementi co company confirm
    contact counter customer customers dear december dec delivery department dept did do does driver each email enquiries
    enquiry every everyone everything fri friday from full further general going good great grab had half happy has have he
    hello help her here hi him his hotline how i if in info invoice is it its jan january jul july jun june jurong just
    kindly kitchen la lah later let logistics lor ltd madam mall management manager mar march may maybe me mon monday more morning mr mrs ms
    mdm my need new next no none not nov november now number o oct october of office ok okay on one only operations or order orders our
    out outlet outside payment pcs phone pizza please pls plus pte purchasing quick ready reception refund regarding
    regards replacement restaurant right running sales same saturday sat section security see send sept september service services she shop shortly singapore sir
    so some someone soon sorry staff starting still stock store stores sun sunday sunny sup supervisor support sure tampines team tell tentatively than thank
    thanks that the their them then there these they this thu thursday tmr to today tomorrow tonight too tues tuesday uncle unable
    unit until up urgent urgently us very wait waiting warehouse was we wed wednesday were what when where which who why will with woodlands would yes
    yesterday yet yishun you your yours hubungi ini itu dan dari di ialah ialah kami ke kepada mahu nak pada saya untuk yang adalah
    encik puan cik tuan boleh sila tolong terima kasih pesanan esok hari ada akan juga dengan tak tidak
    calling looking trying writing ordering asking interested available located based using getting having sending getting placing
    wondering checking following afraid aware able unhappy disappointed glad allergic vegetarian currently really speaking whatsapp
    chinese malay english halal google facebook instagram xero shopee lazada foodpanda deliveroo gmail christmas deepavali hari raya
    product item name address mobile tel email date price total quantity qty size colour color blk block street road avenue
    marina orchard bugis geylang toa payoh serangoon hougang punggol sengkang bishan novena queenstown outram redhill""".split()
)

# Places and brands that look like a surname and syllables.
NOT_PEOPLE = frozenset(
    {
        "ang mo kio", "lim chu kang", "choa chu kang", "lee kum kee", "tan tock seng", "chin swee road", "hong leong bank", "yong tau foo",
        "wan tan mee", "kong guan", "ho chi minh", "hong kong", "pu er", "kim chuan", "ng teng fong", "tai sun", "lau pa sat", "toa payoh", "yong he",
        "teo chew", "kway teow", "koh lanta", "sin ming", "han sin", "low fat", "low sugar", "park hotel", "may day", "lee hwa",
    }
)  # fmt: skip

CHINESE_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟"
    "熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤洪翁颜柯庄符傅温施欧蓝卓陳張劉楊黃趙吳孫馬羅鄭謝許韓馮鄧葉蘇魏呂盧鐘譚陸龍"
)
