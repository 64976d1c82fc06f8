// How one page view felt: LCP, INP, CLS, FCP, TTFB, FID of old, and the slowest image. Sent once,
// when the page is left or hidden. Wants data-to and data-route on its tag; needs script-src and connect-src 'self'.
(() => {
  const { to, route, share } = document.currentScript.dataset
  const types = self.PerformanceObserver?.supportedEntryTypes ?? []
  if (Math.random() >= share || !types.length) return
  const found = {}, taps = new Map(), observers = []
  const start = () => performance.getEntriesByType('navigation')[0]?.activationStart ?? 0
  let hidden = document.visibilityState == 'hidden' ? 0 : Infinity, sent = 0
  const watch = (type, each, more) => {
    if (!types.includes(type)) return
    const observer = new PerformanceObserver((list) => list.getEntries().forEach(each))
    observer.observe({ type, buffered: true, ...more })
    observers.push([observer, each])
  }
  // What is painted after the page was hidden waited for its visitor, not for us.
  const paint = (name, entry) => { if (entry.startTime < hidden) found[name] = Math.max(0, entry.startTime - start()) }
  watch('paint', (entry) => { if (entry.name == 'first-contentful-paint') paint('fcp', entry) })
  watch('largest-contentful-paint', (entry) => paint('lcp', entry))
  // Shifts in a row are one: at most a second apart, at most five seconds long; the worst row counts.
  if (types.includes('layout-shift')) found.cls = 0
  let row = 0, first = 0, last = 0
  watch('layout-shift', (entry) => {
    if (entry.hadRecentInput) return
    const now = entry.startTime
    if (now - last > 1000 || now - first > 5000) row = 0, first = now
    last = now
    row += entry.value
    found.cls = Math.max(found.cls, row)
  })
  // The slowest interaction, less one for every fifty. Of each only its longest event counts.
  const tap = (entry) => {
    if (entry.entryType == 'first-input') found.fid = Math.max(0, entry.processingStart - entry.startTime)
    const id = entry.interactionId
    if (!id) return
    taps.set(id, Math.max(taps.get(id) ?? 0, entry.duration))
    if (taps.size > 200) taps.delete([...taps].reduce((a, b) => (b[1] < a[1] ? b : a))[0])
  }
  watch('event', tap, { durationThreshold: 16 })
  watch('first-input', tap)
  const send = () => {
    if (sent++) return
    for (const [observer, each] of observers) observer.takeRecords().forEach(each)
    const slowest = [...taps.values()].sort((a, b) => b - a)
    const skipped = Math.floor((performance.interactionCount ?? slowest.length) / 50)
    if (slowest.length) found.inp = slowest[Math.min(skipped, slowest.length - 1)]
    const answered = performance.getEntriesByType('navigation')[0]?.responseStart
    if (answered > 0) found.ttfb = Math.max(0, answered - start())
    const images = performance.getEntriesByType('resource').filter((entry) => entry.initiatorType == 'img')
    if (images.length) found.img = Math.max(...images.map((entry) => entry.duration))
    const device = Math.min(screen.width, screen.height) < 600 ? 'phone' : 'desktop'
    navigator.sendBeacon(to, JSON.stringify({ route, device, ...found }))
  }
  addEventListener('visibilitychange', () => {
    if (document.visibilityState != 'hidden') return
    send()
    hidden = Math.min(hidden, performance.now())
  }, true)
  addEventListener('pagehide', send, true)
})()
