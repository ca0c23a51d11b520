import { Menu } from '@mantine/core';
import { Clock } from 'lucide-react';
import { useEffect, useState } from 'react';
import { useText } from '../../i18n/text';
import { minutesUntil, useSession } from '../../session/session';
import css from './frame.module.css';

const soon = 10; // minutes

/** What is left of this login; amber and a word of warning near its end. */
export function TimeLeft() {
  const { t, language } = useText();
  const { me, renew } = useSession();
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 15_000);
    return () => clearInterval(timer);
  }, []);
  const minutes = minutesUntil(me.expires, now);
  const [h, m] = [Math.floor(minutes / 60), minutes % 60];
  const time = h > 0 ? t('time.hours', { h, m }) : t('time.minutes', { m });
  const until = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' }).format(me.expires * 1000);
  return (
    <Menu position="bottom-end" returnFocus>
      <Menu.Target>
        <button type="button" className={css.time} data-soon={minutes < soon || undefined} aria-label={t('time.label', { time })}>
          <Clock size={16} aria-hidden />
          <span>{time}</span>
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{t('time.until', { time: until })}</Menu.Label>
        <Menu.Item onClick={renew}>{t('time.extend')}</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
