/* Hosts of services that sell or give away what others saw in the DNS: passive DNS, certificate search, host search engines, web archives with a host index. Our own list, from
 * these services' public documentation; part of the built-in scope (PK_SCOPE_BUILTIN_VERSION grows with every change). A name at or below one of them is in scope. Only hosts
 * that serve this purpose belong here: no search engine, no code forge, no cloud's API that everybody's software calls. */
#include "scope_services.h"

const char *const pk_scope_services[] = {
    /* passive DNS */
    "api.dnsdb.info", "api.domaintools.com", "api.securitytrails.com", "api.passivetotal.org",
    "api.riskiq.net", "api.mnemonic.no", "passivedns.circl.lu", "investigate.api.umbrella.com",
    "api-pdns.spamhaustech.com", "pdns.spamhaus.com", "freeapi.robtex.com", "api.validin.com",
    "app.validin.com", "api.silentpush.com", "dnsrepo.noc.org", "dnsarchive.net", "dnshistory.org",
    "completedns.com", "api.threatbook.cn", "api.threatbook.io", "ip.thc.org", "tls.bufferover.run",
    "dns.bufferover.run", "dns.projectdiscovery.io", "chaos-data.projectdiscovery.io",
    "columbus.elmasy.com", "api.subdomain.center", "jldc.me", "anubisdb.com", "api.profundis.io",
    "shrewdeye.app", "api.c99.nl", "api.dnspedia.com", "api.deepinfo.com", "api.recon.dev",
    "reconapi.redhuntlabs.com", "api.rsecloud.com", "pugrecon.celes.in", "api.sublist3r.com",
    "api.spyse.com", "riddler.io", "subdomains.whoisxmlapi.com", "dns-history.whoisxmlapi.com",
    "reverse-dns.whoisxmlapi.com", "reverse-ip.whoisxmlapi.com", "reverse-ns.whoisxmlapi.com",
    "reverse-mx.whoisxmlapi.com", "api.dnslytics.net", "api.viewdns.info", "viewdns.info",
    "api.hackertarget.com", "hackertarget.com", "rapiddns.io", "dnsdumpster.com",
    "api.dnsdumpster.com", "searchdns.netcraft.com", "www.sitedossier.com", "api.networksdb.io",
    "api.bgpview.io",
    /* certificate search */
    "crt.sh", "api.certspotter.com", "api.merklemap.com", "www.merklemap.com",
    "certificatedetails.com", "ctsearch.entrust.com", "censys.io", "search.censys.io",
    "api.platform.censys.io",
    /* hosts and services of the Internet */
    "api.shodan.io", "internetdb.shodan.io", "exploits.shodan.io", "api.binaryedge.io",
    "api.zoomeye.org", "api.zoomeye.ai", "api.zoomeye.hk", "fofa.info", "api.fofa.info",
    "quake.360.net", "quake.360.com", "hunter.qianxin.com", "api.hunter.how", "leakix.net",
    "app.netlas.io", "api.netlas.io", "fullhunt.io", "www.onyphe.io", "api.onyphe.io",
    "api.criminalip.io", "api.driftnet.io", "osint.bevigil.com", "api.odin.io",
    /* threat intelligence with a view of names */
    "otx.alienvault.com", "urlscan.io", "api.threatminer.org", "www.threatcrowd.org",
    "pulsedive.com", "www.virustotal.com", "2.intelx.io", "free.intelx.io", "public.intelx.io",
    "api.builtwith.com", "api.hunter.io", "buckets.grayhatwarfare.com",
    /* archives of the web with an index by host */
    "web.archive.org", "index.commoncrawl.org", "arquivo.pt", "webcitation.org", "psbdmp.ws",
    "publicwww.com"};
const unsigned pk_n_scope_services = sizeof pk_scope_services / sizeof *pk_scope_services;
